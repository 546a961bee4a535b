// Tables that are drawn again and again while somebody reads them.

import {byId, node} from '/static/nodes.js';

const FIRST = 20;

/**
 * The rows of a table, the first of them until somebody asks for all.
 *
 * A row stays while what it says changes: a button must not vanish under a finger, nor lose the focus.
 */
export class Table {
  /** @param {string} id of the table; the button that shows all has the same with `-more`. */
  constructor(id) {
    this.body = byId(id).tBodies[0];
    this.more = byId(`${id}-more`);
    this.all = false;
    this.rows = [];
    this.more.onclick = () => {
      this.all = true;
      // What had the focus goes away; the first row that came is where reading goes on.
      const place = this.body.rows.length;
      this.draw(this.rows);
      const next = this.body.rows[place]?.cells[0];
      next?.setAttribute('tabindex', '-1');
      next?.focus();
    };
  }

  /**
   * @param {Array<{key: string, cells: Node[], action: ?{kind: string, make: () => ?Node}, below: ?Node}>} rows with
   *   what stands in the last cell, which is made when it is of another kind than before; and what is told below.
   */
  draw(rows) {
    this.rows = rows;
    const shown = this.all ? rows : rows.slice(0, FIRST);
    const before = new Map([...this.body.rows].map((row) => [row.dataset.key, row]));
    const wanted = shown.flatMap((row) => {
      const made = filled(before.get(row.key), row);
      made.className = row.below ? 'flagged' : '';
      return row.below ? [made, node('tr', {class: 'why', 'data-key': `why ${row.key}`}, row.below)] : [made];
    });
    wanted.forEach((row, place) => {
      if (this.body.rows[place] !== row) this.body.insertBefore(row, this.body.rows[place] ?? null);
    });
    while (this.body.rows.length > wanted.length) this.body.lastElementChild.remove();
    this.more.hidden = shown.length === rows.length;
    this.more.textContent = `Show all ${rows.length}`;
  }
}

function filled(old, {key, cells, action}) {
  const row = old ?? node('tr', {'data-key': key}, action && node('td'));
  const last = action ? row.lastElementChild : null;
  while (row.firstElementChild !== last) row.firstElementChild.remove();
  row.prepend(...cells);
  if (last && last.dataset.kind !== action.kind) {
    last.dataset.kind = action.kind;
    last.replaceChildren(...[action.make()].filter(Boolean));
  }
  return row;
}
