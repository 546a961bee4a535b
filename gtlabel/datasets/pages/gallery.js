'use strict';
// The gallery: of all pictures only those in view are elements of the page.
(() => {
  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId('gtlabel-images').textContent);
  const total = data.names.length;
  const grid = byId('gallery-grid');
  if (!grid || !total) return;

  const KINDS = {
    twin: 'Two classes', disputed: 'Disputed', unreadable: 'Unreadable',
    leak: 'Two channels', unsure: 'Least certain', odd: 'Odd size',
  };
  const GAP = 12;
  const CAPTION = 46;
  const reasonsOf = (index) => data.reasons[index] || [];
  const collator = new Intl.Collator(undefined, { numeric: true });

  // Thumbnails: a piece is text until one of its pictures is looked at.
  const pieces = new Map();
  const pieceOf = (number) => {
    if (pieces.has(number)) return pieces.get(number);
    const element = byId(`piece-${number}`);
    // While the page is still being read, the last piece may not be whole.
    if (!element || (document.readyState === 'loading' && !element.nextElementSibling)) return null;
    const lines = element.textContent.split('\n');
    if (pieces.size >= 32) pieces.delete(pieces.keys().next().value);
    pieces.set(number, lines);
    return lines;
  };
  const sourceOf = (index) => {
    const lines = pieceOf(Math.floor(index / data.piece));
    if (!lines) return undefined;
    const text = lines[index % data.piece];
    return text ? `data:image/webp;base64,${text}` : null;
  };

  const nameOf = (index) => data.names[index].slice(data.names[index].lastIndexOf('/') + 1) || data.names[index];
  const classOf = (index) => data.classes[data.class[index]] ?? 'unknown';
  const certaintyOf = (index) => {
    const confidence = data.confidence[index];
    if (confidence === null) return 'unknown';
    return confidence ? confidence.toFixed(2) : 'one answer';
  };
  const element = (tag, className, text) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const pictureOf = (index) => {
    const source = sourceOf(index);
    if (!source) return element('span', 'no-picture', source === null ? 'cannot be shown' : '');
    const image = element('img');
    image.decoding = 'async';
    image.alt = '';
    image.src = source;
    return image;
  };

  // What is shown: positions in the order of the page, which is that of suspicion.
  const controls = {
    kind: 'all', class: byId('gallery-class'), channel: byId('gallery-channel'),
    order: byId('gallery-order'), find: byId('gallery-find'),
  };
  let shown = [];
  const ORDERS = {
    suspicion: null,
    confidence: (a, b) => (data.confidence[a] || 2) - (data.confidence[b] || 2),
    name: (a, b) => collator.compare(data.names[a], data.names[b]),
    small: (a, b) => data.width[a] * data.height[a] - data.width[b] * data.height[b],
    large: (a, b) => data.width[b] * data.height[b] - data.width[a] * data.height[a],
  };
  const matches = (index, find) => {
    const { kind } = controls;
    if (kind === 'any' && !data.reasons[index]) return false;
    if (kind in KINDS && !reasonsOf(index).some(([found]) => found === kind)) return false;
    if (controls.class.value !== '' && data.class[index] !== Number(controls.class.value)) return false;
    if (controls.channel.value !== '' && data.channel[index] !== Number(controls.channel.value)) return false;
    return !find || data.names[index].toLowerCase().includes(find);
  };
  const choose = () => {
    const find = controls.find.value.trim().toLowerCase();
    shown = [];
    for (let index = 0; index < total; index += 1) if (matches(index, find)) shown.push(index);
    const order = ORDERS[controls.order.value];
    if (order) shown.sort((a, b) => order(a, b) || a - b);
    byId('gallery-count').textContent =
      shown.length === 1 ? '1 picture' : `${shown.length.toLocaleString('en')} pictures`;
    byId('gallery-save').disabled = !shown.length;
    cells.forEach((cell) => cell.remove());
    cells.clear();
    draw();
  };

  // The grid.
  const cells = new Map();
  const measures = () => {
    const width = grid.clientWidth;
    const columns = Math.max(2, Math.floor((width + GAP) / (148 + GAP)));
    const side = (width - GAP * (columns - 1)) / columns;
    return { columns, side, row: Math.round(side * 0.75) + CAPTION + GAP };
  };
  const fill = (button, index) => {
    const picture = pictureOf(index);
    if (button.firstChild) button.firstChild.replaceWith(picture);
    else button.append(picture);
    button.dataset.waits = sourceOf(index) === undefined ? 'yes' : '';
  };
  const cellAt = (position) => {
    const index = shown[position];
    const item = element('div', 'cell');
    item.setAttribute('role', 'listitem');
    item.setAttribute('aria-setsize', shown.length);
    item.setAttribute('aria-posinset', position + 1);
    const button = element('button');
    button.type = 'button';
    button.dataset.position = position;
    fill(button, index);
    const line = element('span', 'verdict');
    line.append(element('b', '', classOf(index)), element('span', 'quiet', certaintyOf(index)));
    button.append(line, element('span', 'file', nameOf(index)));
    const [reason] = reasonsOf(index);
    if (reason) button.append(element('span', `badge badge-${reason[0]}`, KINDS[reason[0]]));
    item.append(button);
    return item;
  };
  const draw = () => {
    const { columns, side, row } = measures();
    const rows = Math.ceil(shown.length / columns);
    grid.style.height = `${Math.max(0, rows * row - GAP)}px`;
    const top = -grid.getBoundingClientRect().top;
    const first = Math.max(0, Math.floor(top / row) - 1) * columns;
    const last = Math.min(shown.length, (Math.ceil((top + window.innerHeight) / row) + 1) * columns);
    cells.forEach((cell, position) => {
      const inView = position >= first && position < last;
      if (!inView && !cell.contains(document.activeElement)) {
        cell.remove();
        cells.delete(position);
      }
    });
    const fresh = document.createDocumentFragment();
    for (let position = first; position < last; position += 1) {
      let cell = cells.get(position);
      if (!cell) {
        cell = cellAt(position);
        cells.set(position, cell);
        fresh.append(cell);
      } else if (cell.firstChild.dataset.waits) {
        fill(cell.firstChild, shown[position]);
      }
      cell.style.width = `${side}px`;
      cell.style.height = `${row - GAP}px`;
      cell.style.transform =
        `translate(${(position % columns) * (side + GAP)}px, ${Math.floor(position / columns) * row}px)`;
    }
    grid.append(fresh);
  };
  let asked = 0;
  const soon = () => {
    if (!asked) asked = requestAnimationFrame(() => { asked = 0; draw(); });
  };
  addEventListener('scroll', soon, { passive: true });
  new ResizeObserver(soon).observe(grid);

  // While the rest of the page is being read, pictures in view come in.
  const arrivals = new MutationObserver(soon);
  if (document.readyState === 'loading') {
    arrivals.observe(document.body, { childList: true });
    document.addEventListener('DOMContentLoaded', () => { arrivals.disconnect(); soon(); });
  }

  const focusOn = (position) => {
    if (position < 0 || position >= shown.length) return;
    const { columns, row } = measures();
    const start = grid.getBoundingClientRect().top + scrollY + Math.floor(position / columns) * row;
    const bar = byId('gallery-bar').offsetHeight + GAP;
    if (start - bar < scrollY) scrollTo(0, start - bar);
    else if (start + row > scrollY + innerHeight) scrollTo(0, start + row - innerHeight);
    draw();
    cells.get(position)?.firstChild.focus({ preventScroll: true });
  };
  grid.addEventListener('keydown', (event) => {
    const from = Number(event.target.dataset.position);
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -measures().columns, ArrowDown: measures().columns };
    if (!(event.key in step) || Number.isNaN(from)) return;
    event.preventDefault();
    focusOn(from + step[event.key]);
  });

  // One picture.
  const dialog = byId('gallery-one');
  let open = 0;
  const show = (position) => {
    open = position;
    const index = shown[position];
    const facts = byId('one-facts');
    const size = data.width[index] ? `${data.width[index]} × ${data.height[index]} pixels` : 'unknown';
    const told = [
      ['Class', classOf(index)], ['Confidence', certaintyOf(index)],
      ['Channel', data.channels[data.channel[index]]], ['Size', size],
      ['File', `${data.bytes[index].toLocaleString('en')} bytes`], ['Address', data.prefix + data.names[index]],
    ];
    facts.replaceChildren(...told.flatMap(([name, value]) => [element('dt', '', name), element('dd', '', value)]));
    byId('one-picture').replaceChildren(pictureOf(index));
    byId('one-title').textContent = nameOf(index);
    byId('one-reasons').replaceChildren(...reasonsOf(index).map(([, sentence, other]) => {
      const item = element('li');
      item.append(element('span', '', `This image ${sentence}.`));
      // Two pictures that are said to be alike are best judged side by side.
      if (other >= 0 && sourceOf(other)) item.append(pictureOf(other));
      return item;
    }));
    byId('one-place').textContent =
      `${(position + 1).toLocaleString('en')} of ${shown.length.toLocaleString('en')}`;
    byId('one-before').disabled = position === 0;
    byId('one-after').disabled = position === shown.length - 1;
    if (!dialog.open) dialog.showModal();
  };
  const turn = (step) => {
    if (open + step >= 0 && open + step < shown.length) show(open + step);
  };
  grid.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (button) show(Number(button.dataset.position));
  });
  byId('one-before').addEventListener('click', () => turn(-1));
  byId('one-after').addEventListener('click', () => turn(1));
  byId('one-close').addEventListener('click', () => dialog.close());
  dialog.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowLeft') turn(-1);
    if (event.key === 'ArrowRight') turn(1);
  });
  dialog.addEventListener('click', (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener('close', () => focusOn(open));

  // The controls.
  const kinds = byId('gallery-kinds');
  kinds.addEventListener('click', (event) => {
    const button = event.target.closest('button');
    if (!button) return;
    controls.kind = button.value;
    kinds.querySelectorAll('button').forEach((each) => each.setAttribute('aria-pressed', each === button));
    choose();
  });
  const counts = { all: total, any: Object.keys(data.reasons).length };
  Object.values(data.reasons).forEach((reasons) => new Set(reasons.map(([kind]) => kind)).forEach((kind) => {
    counts[kind] = (counts[kind] || 0) + 1;
  }));
  const names = { all: 'All', any: 'Suspicious', ...KINDS };
  ['all', 'any', ...data.kinds].filter((kind) => counts[kind]).forEach((kind) => {
    const button = element('button', '', names[kind]);
    button.type = 'button';
    button.value = kind;
    button.setAttribute('aria-pressed', kind === 'all');
    button.append(' ', element('span', 'count', counts[kind].toLocaleString('en')));
    kinds.append(button);
  });
  const offer = (select, values) => values.forEach((value, position) => select.append(new Option(value, position)));
  offer(controls.class, data.classes);
  offer(controls.channel, data.channels);
  [controls.class, controls.channel, controls.order].forEach((select) => select.addEventListener('change', choose));
  controls.find.addEventListener('input', choose);

  byId('gallery-save').addEventListener('click', () => {
    const lines = shown.map((index) => `${JSON.stringify({ 'source-ref': data.prefix + data.names[index] })}\n`);
    const link = element('a');
    link.href = URL.createObjectURL(new Blob(lines, { type: 'application/jsonlines' }));
    link.download = 'chosen.manifest';
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  });

  byId('gallery').hidden = false;
  choose();
})();
