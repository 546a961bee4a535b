// What each worker mixes up: as a map of all classes, or, of many classes, the worst mix-ups.

import {range} from '/static/owner/range.js';
import {byId, node, percent, spread} from '/static/nodes.js';

const EVERYBODY = 'everybody';

export class Maps {
  constructor() {
    this.classes = [];
    this.people = new Map();
    this.names = '';
    byId('who').onchange = () => this.show();
  }

  draw({workers, everybody, classes}) {
    this.classes = classes;
    byId('maps-part').hidden = !everybody;
    if (!everybody) return;
    this.people = new Map([['', everybody], ...workers.filter((one) => one.confusion || one.mixups).map((one) => [one.name, one])]);
    const names = JSON.stringify([...this.people.keys()]);
    if (names !== this.names) {
      this.names = names;
      const before = byId('who').value;
      byId('who').replaceChildren(...[...this.people.keys()].map((name) => node('option', {value: name}, name || EVERYBODY)));
      byId('who').value = this.people.has(before) ? before : '';
    }
    byId('maps-rest').hidden = this.people.size > workers.filter((one) => one.backed).length;
    byId('maps-rest').textContent = `The ${this.people.size - 1} who are flagged or answered most can be chosen.`;
    this.show();
  }

  show() {
    const one = this.people.get(byId('who').value);
    byId('map').hidden = !one?.confusion;
    byId('mixups').hidden = !one?.mixups?.length;
    if (one?.confusion) {
      byId('map-state').textContent = 'Rows: what the others take a picture for, or what is known of it. Columns: what was said. '
        + 'Below each share, its 95\u00a0% interval and how many answers; others’ doubt makes parts of answers.';
      byId('map').replaceChildren(...this.map(one.confusion));
    } else if (one?.mixups) {
      byId('map-state').textContent = one.mixups.length
        ? `The classes that are mixed up in most answers, of ${this.classes.length}. Share: of the answers about pictures of the class.`
        : 'No two classes are mixed up.';
      byId('mixups').tBodies[0].replaceChildren(...one.mixups.map(({truth, said, count, share}) => node('tr', {}, node('th', {scope: 'row'}, truth),
        node('td', {}, said), node('td', {class: 'number'}, amount(count)), range(share, spread))));
    }
  }

  map({counts, share, low, high}) {
    const head = node('thead', {}, node('tr', {}, node('td', {}), ...this.classes.map((name) => node('th', {scope: 'col'}, name))));
    const body = this.classes.map((name, row) => node('tr', {}, node('th', {scope: 'row'}, name), ...this.classes.map((_, column) => {
      const cell = node('td', {class: row === column ? 'right' : 'wrong'}, node('b', {}, percent(share[row][column])),
        node('small', {}, `${(low[row][column] * 100).toFixed(0)} to ${percent(high[row][column])}`),
        node('small', {}, `${amount(counts[row][column])} answers`));
      cell.style.setProperty('--share', `${Math.round(share[row][column] * 55)}%`);
      return cell;
    })));
    return [head, node('tbody', {}, ...body)];
  }
}

/** How many answers, in parts where they are few. */
function amount(count) {
  return count < 100 ? count.toFixed(1) : Math.round(count).toLocaleString('en-US');
}
