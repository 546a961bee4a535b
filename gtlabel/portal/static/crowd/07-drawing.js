// What the drawing elements share: shapes over a picture, in its own pixels, by pointer or by keyboard.

const SVG = 'http://www.w3.org/2000/svg';
const COLORS = ['#ff9900', '#4dabf7', '#69db7c', '#f783ac', '#ffd43b', '#b197fc', '#63e6be', '#ff8787', '#e9ecef',
  '#a9e34b'];
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
const CLOSE_PIXELS = 12;
const DRAG_PIXELS = 5;
const STEP_PIXELS = 10;
const SMALLEST_BOX = 3;

const DRAWING_LOOK = `
${CLASSIFIER_LOOK}
.viewport { cursor: crosshair; }
.over svg { position: absolute; left: 0; top: 0; overflow: visible; }
.shape { fill-opacity: .15; stroke-width: calc(3px / var(--scale, 1)); }
.shape.chosen { stroke-dasharray: calc(8px / var(--scale, 1)) calc(5px / var(--scale, 1)); fill-opacity: .3; }
.dot { r: calc(6px / var(--scale, 1)); fill-opacity: .6; }
.cross { stroke: #fff; stroke-width: calc(2px / var(--scale, 1)); mix-blend-mode: difference; }
.shapes { list-style: none; margin: 12px 0 0; padding: 0; }
.shapes li { display: flex; align-items: center; gap: 8px; margin: 0 0 4px; }
.shapes .name { flex: 1; min-width: 0; overflow-wrap: anywhere; text-align: left; justify-content: flex-start; }
.shapes [aria-pressed=true] { border-color: var(--accent); background: var(--tint); }
.hint { color: var(--soft); font-size: 14px; margin: 8px 0; }
`;

function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/**
 * What the drawing elements share: labels to choose from, a list of shapes, undo, and keys that draw and move.
 * Subclasses say how a shape looks and is spelled, and what `put` makes of a point.
 */
class Drawing extends Classifier {
  static observedAttributes = ['labels', 'header', 'src', 'disabled'];
  static look = DRAWING_LOOK;
  isImage = true;
  isRaw = true;
  shapes = [];
  chosen = null;
  cross = null;

  get labels() {
    return this.categories;
  }

  set labels(value) {
    this.categories = value;
  }

  attributeChangedCallback(name, before, value) {
    if (name === 'labels') this.readCategories(value);
    else super.attributeChangedCallback(name, before, value);
  }

  build() {
    super.build();
    this.shadowRoot.querySelector('legend').textContent = 'Choose a label, then draw';
    this.list = make('ul', {class: 'shapes', 'aria-label': 'What is drawn'});
    this.count = make('p', {class: 'hint', role: 'status'});
    this.picker.append(make('p', {class: 'hint'}, this.hint), make('p', {class: 'hint'},
      'By keyboard: arrow keys move a cross over the picture, or what is chosen; Space sets a point.'),
    this.count, this.list);
    this.layer = svg('svg', {'aria-hidden': 'true'});
    this.listen(this.viewer);
  }

  listen(viewer) {
    const {element, image} = viewer;
    viewer.isDrawing = true;
    element.setAttribute('aria-label', 'Picture to draw on. Arrow keys move a cross, Space sets a point.');
    element.addEventListener('pointerdown', (event) => {
      this.cross = null;
      // A second finger is there to zoom: what the first one began does not count.
      if (!event.isPrimary) this.cancel();
      else if (event.button === 0 && this.canDraw() && viewer.holds(event)) this.press(viewer.at(event));
    });
    element.addEventListener('pointermove', (event) => event.isPrimary && this.drag(viewer.at(event)));
    element.addEventListener('pointerup', (event) => event.isPrimary && this.lift(viewer.at(event)));
    element.addEventListener('pointercancel', () => this.cancel());
    // The viewer empties its layer when a picture has come; the drawing goes on top again.
    image.addEventListener('load', () => {
      viewer.over.append(this.layer);
      this.draw();
    });
  }

  addComment() {}

  drawOptions() {
    super.drawOptions();
    const [first] = this.inputs();
    if (first && !this.label) first.checked = true;
  }

  get label() {
    return this.picked()[0];
  }

  color(label) {
    return COLORS[Math.max(0, this.categories.indexOf(label)) % COLORS.length];
  }

  add(shape) {
    this.shapes.push(shape);
    this.chosen = shape;
    this.drawn();
  }

  remove(shape) {
    this.shapes = this.shapes.filter((other) => other !== shape);
    this.chosen = null;
    this.drawn();
    this.viewer.element.focus();
  }

  drawn() {
    this.isTouched = true;
    this.alarm.textContent = '';
    this.draw();
    this.changed();
  }

  draw() {
    if (!this.layer) return;
    this.layer.replaceChildren(...this.shapes.map((shape) => this.outline(shape)), ...this.unfinished(),
      ...this.crossLines());
    this.list.replaceChildren(...this.shapes.map((shape, index) => this.entry(shape, index)));
    this.count.textContent = this.shapes.length ? `${this.shapes.length} drawn` : 'Nothing is drawn.';
  }

  outline(shape) {
    const color = this.color(shape.label);
    const node = this.figure(shape);
    node.setAttribute('stroke', color);
    node.setAttribute('fill', color);
    node.classList.add('shape');
    node.classList.toggle('chosen', shape === this.chosen);
    return node;
  }

  unfinished() {
    return [];
  }

  crossLines() {
    if (!this.cross) return [];
    const {x, y} = this.cross;
    const arm = CLOSE_PIXELS / this.viewer.scale;
    return [svg('line', {class: 'cross', x1: x - arm, y1: y, x2: x + arm, y2: y}),
      svg('line', {class: 'cross', x1: x, y1: y - arm, x2: x, y2: y + arm})];
  }

  entry(shape, index) {
    const swatch = make('span', {class: 'swatch'});
    swatch.style.background = this.color(shape.label);
    const name = `${shape.label} ${index + 1}`;
    const choose = () => {
      this.chosen = shape === this.chosen ? null : shape;
      this.draw();
      this.viewer.element.focus();
    };
    const remove = () => this.remove(shape);
    return make('li', {}, swatch, make('button', {type: 'button', class: 'name',
      'aria-pressed': String(shape === this.chosen), onclick: choose}, name),
    make('button', {type: 'button', 'aria-label': `Remove ${name}`, onclick: remove}, '×'));
  }

  canDraw() {
    return Boolean(this.label) && !this.disabled && this.viewer.state === 'loaded';
  }

  steer({key, shiftKey}) {
    if (this.disabled) return false;
    const move = ARROWS[key];
    if (move && this.chosen) {
      if (shiftKey) this.stretch(this.chosen, ...move);
      else this.nudge(this.chosen, ...move);
      this.drawn();
    } else if (move) {
      this.moveCross(...move, shiftKey ? 1 : Math.max(1, Math.round(STEP_PIXELS / this.viewer.scale)));
    } else if (key === ' ' && this.canDraw()) {
      this.chosen = null;
      this.cross ??= this.middle();
      this.put(this.cross);
      this.draw();
    } else if (key === 'Delete' && this.chosen) {
      this.remove(this.chosen);
    } else if (key === 'Escape' && (this.chosen || this.isDrawing())) {
      this.chosen = null;
      this.drop();
      this.draw();
    } else {
      return false;
    }
    return true;
  }

  middle() {
    const {width, height} = this.size();
    return this.viewer.within(width / 2, height / 2);
  }

  moveCross(x, y, step) {
    const {x: fromX, y: fromY} = this.cross ?? this.middle();
    this.cross = this.viewer.within(fromX + x * step, fromY + y * step);
    this.viewer.reveal(this.cross);
    this.drag(this.cross);
    this.draw();
  }

  key(key) {
    if (this.disabled) return this.viewer.key(key);
    if (key === 'Delete' && this.chosen) {
      this.remove(this.chosen);
      return true;
    }
    if (key === 'Backspace' && this.shapes.length) {
      this.remove(this.shapes.at(-1));
      return true;
    }
    const input = this.keys.get(key);
    if (!input) return this.viewer.key(key);
    input.click();
    return true;
  }

  size() {
    return this.viewer.size();
  }

  get value() {
    return this._submittableValue;
  }

  set value(value) {
    this.restore(value);
  }

  get _submittableValue() {
    return {[this.plural]: this.shapes.map((shape) => this.spell(shape)), inputImageProperties: this.size()};
  }

  restore(answer) {
    const given = Array.isArray(answer) ? answer : answer?.[this.plural];
    this.shapes = (Array.isArray(given) ? given : []).map((shape) => this.spell(shape));
    this.chosen = null;
    this.drop();
    this.draw();
    this.validate();
  }

  /** A picture may have nothing to draw on it; only a picture that was not seen is no answer. */
  validate() {
    this.blame(this.isBuilt ? this.notSeen() : '', this.options);
  }

  /** Whether a shape was begun. */
  isDrawing() {
    return false;
  }

  press() {
    this.isPressed = true;
  }

  drag() {}

  lift(point) {
    if (!this.isPressed) return;
    this.isPressed = false;
    this.chosen = null;
    this.put(point);
    this.draw();
  }

  cancel() {
    this.isPressed = false;
  }

  /** Forgets a shape that was begun. */
  drop() {}

  stretch(shape, x, y) {
    this.nudge(shape, x * STEP_PIXELS, y * STEP_PIXELS);
  }
}
