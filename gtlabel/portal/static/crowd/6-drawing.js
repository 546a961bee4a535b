// crowd-bounding-box, crowd-polygon and crowd-keypoint: shapes drawn over a picture, in its own pixels.

const SVG = 'http://www.w3.org/2000/svg';
const COLORS = ['#ff9900', '#4dabf7', '#69db7c', '#f783ac', '#ffd43b', '#b197fc', '#63e6be', '#ff8787', '#e9ecef',
  '#a9e34b'];
const CLOSE_PIXELS = 12;
const SMALLEST_BOX = 3;

const DRAWING_LOOK = `
${CLASSIFIER_LOOK}
.viewport { cursor: crosshair; }
.over svg { position: absolute; left: 0; top: 0; overflow: visible; }
.shape { fill-opacity: .15; vector-effect: non-scaling-stroke; stroke-width: 3px; }
.shape.chosen { stroke-dasharray: 6 4; fill-opacity: .3; }
.shapes { list-style: none; margin: 12px 0 0; padding: 0; }
.shapes li { display: flex; align-items: center; gap: 8px; margin: 0 0 4px; }
.shapes .name { flex: 1; min-width: 0; overflow-wrap: anywhere; text-align: left; justify-content: flex-start; }
.shapes [aria-pressed=true] { border-color: var(--accent); background: var(--tint); }
.swatch { width: 16px; height: 16px; border-radius: 4px; flex: none; }
.hint { color: var(--soft); font-size: 14px; }
`;

function svg(tag, attributes) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

/**
 * What the drawing elements share: labels to choose from, a list of shapes, undo, and keys to move a shape.
 * Subclasses say what pointers do and how a shape looks and is spelled.
 */
class Drawing extends Classifier {
  static observedAttributes = ['labels', 'header', 'src', 'initial-value', 'disabled'];
  static look = DRAWING_LOOK;
  isImage = true;
  shapes = [];
  chosen = null;

  get labels() {
    return this.categories;
  }

  set labels(value) {
    this.categories = value;
  }

  attributeChangedCallback(name, before, value) {
    if (name === 'labels') this.readCategories(value);
    else if (name !== 'initial-value') super.attributeChangedCallback(name, before, value);
  }

  build() {
    super.build();
    this.shadowRoot.querySelector('legend').textContent = 'Choose a label, then draw';
    this.viewer.isDrawing = true;
    this.list = make('ul', {class: 'shapes', 'aria-label': 'What is drawn'});
    this.picker.append(make('p', {class: 'hint'}, this.hint), this.list);
    this.layer = svg('svg', {});
    this.viewer.over.append(this.layer);
    const {element} = this.viewer;
    element.addEventListener('pointerdown', (event) => event.isPrimary && event.button === 0 && this.press(event));
    element.addEventListener('pointermove', (event) => event.isPrimary && this.drag(event));
    element.addEventListener('pointerup', (event) => event.isPrimary && this.lift(event));
    // The viewer empties its layer when a picture has come; the drawing goes on top again.
    this.viewer.image.addEventListener('load', () => {
      this.viewer.over.append(this.layer);
      this.draw();
    });
  }

  readRegions() {
    super.readRegions();
    const first = this.inputs()[0];
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
  }

  drawn() {
    this.alarm.textContent = '';
    this.draw();
    this.changed();
  }

  draw() {
    if (!this.layer) return;
    this.layer.replaceChildren(...this.shapes.map((shape) => this.outline(shape)), ...this.unfinished());
    this.list.replaceChildren(...this.shapes.map((shape, index) => this.entry(shape, index)));
  }

  outline(shape) {
    const color = this.color(shape.label);
    const node = this.figure(shape);
    node.setAttribute('stroke', color);
    node.setAttribute('fill', color);
    node.setAttribute('class', shape === this.chosen ? 'shape chosen' : 'shape');
    return node;
  }

  unfinished() {
    return [];
  }

  entry(shape, index) {
    const swatch = make('span', {class: 'swatch'});
    swatch.style.background = this.color(shape.label);
    const name = `${shape.label} ${index + 1}`;
    const choose = () => {
      this.chosen = shape;
      this.draw();
      this.viewer.element.focus();
    };
    return make('li', {}, swatch,
      make('button', {type: 'button', class: 'name', 'aria-pressed': String(shape === this.chosen), onclick: choose}, name),
      make('button', {type: 'button', 'aria-label': `Remove ${name}`, onclick: () => this.remove(shape)}, '×'));
  }

  key(key) {
    if (key === 'Delete' && this.chosen) {
      this.remove(this.chosen);
      return true;
    }
    if (key === 'Backspace' && this.shapes.length) {
      this.remove(this.shapes.at(-1));
      return true;
    }
    const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[key];
    if (move && this.chosen) {
      this.nudge(this.chosen, ...move);
      this.drawn();
      return true;
    }
    const input = this.keys.get(key);
    if (!input) return this.viewer.key(key);
    input.click();
    return true;
  }

  size() {
    return {height: this.viewer.image.naturalHeight, width: this.viewer.image.naturalWidth};
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
    const given = Array.isArray(answer) ? answer : (answer?.[this.plural] ?? []);
    this.shapes = given.map((shape) => this.read(shape));
    this.chosen = null;
    this.draw();
    this.validate();
  }

  /** A picture may have nothing to draw on it; only a picture that was not seen is no answer. */
  validate() {
    const isSeen = this.viewer?.state === 'loaded';
    this.blame(this.isBuilt && !isSeen ? 'The picture has not loaded.' : '', this.options);
  }

  checkValidity() {
    this.validate();
    return super.checkValidity();
  }

  spell(shape) {
    return {...shape};
  }

  read(shape) {
    return {...shape};
  }

  press() {}

  drag() {}

  lift() {}
}

define('crowd-bounding-box', class extends Drawing {
  plural = 'boundingBoxes';
  hint = 'Drag from corner to corner, or click two corners. Arrow keys move the chosen box, Delete removes it.';

  figure({left, top, width, height}) {
    return svg('rect', {x: left, y: top, width, height});
  }

  press(event) {
    const point = this.viewer.at(event);
    if (this.corner) this.finish(point);
    else if (this.label) Object.assign(this, {corner: point, isFresh: true});
  }

  drag(event) {
    if (!this.corner) return;
    this.pointer = this.viewer.at(event);
    this.draw();
  }

  lift(event) {
    if (!this.corner || !this.isFresh) return;
    const point = this.viewer.at(event);
    const isDragged = Math.hypot(point.x - this.corner.x, point.y - this.corner.y) >= SMALLEST_BOX;
    // A click leaves the first corner and waits for the second.
    if (isDragged) this.finish(point);
    else this.isFresh = false;
  }

  between(first, second) {
    return {height: Math.abs(first.y - second.y), label: this.label, left: Math.min(first.x, second.x),
      top: Math.min(first.y, second.y), width: Math.abs(first.x - second.x)};
  }

  finish(point) {
    const box = this.between(this.corner, point);
    Object.assign(this, {corner: null, pointer: null, isFresh: false});
    if (box.width >= SMALLEST_BOX && box.height >= SMALLEST_BOX) this.add(box);
    else this.draw();
  }

  unfinished() {
    if (!this.corner || !this.pointer) return [];
    return [this.outline(this.between(this.corner, this.pointer))];
  }

  nudge(box, x, y) {
    const {width, height} = this.size();
    box.left = Math.min(width - box.width, Math.max(0, box.left + x));
    box.top = Math.min(height - box.height, Math.max(0, box.top + y));
  }
});

define('crowd-polygon', class extends Drawing {
  plural = 'polygons';
  hint = 'Click the corners; click the first one again, or press Enter, to close. Escape drops an unfinished one.';
  corners = [];

  figure({vertices}) {
    return svg('polygon', {points: vertices.map(({x, y}) => `${x},${y}`).join(' ')});
  }

  press(event) {
    if (!this.label) return;
    const point = this.viewer.at(event);
    const [first] = this.corners;
    const isClosing = first && Math.hypot(first.x - point.x, first.y - point.y) * this.viewer.scale <= CLOSE_PIXELS;
    if (isClosing && this.corners.length >= 3) this.close();
    else this.corners.push(point);
    this.draw();
  }

  drag(event) {
    this.pointer = this.viewer.at(event);
    if (this.corners.length) this.draw();
  }

  close() {
    const vertices = this.corners;
    this.corners = [];
    this.add({label: this.label, vertices});
  }

  key(key) {
    if (key === 'Enter' && this.corners.length >= 3) {
      this.close();
      return true;
    }
    if ((key === 'Escape' || key === 'Backspace') && this.corners.length) {
      if (key === 'Escape') this.corners = [];
      else this.corners.pop();
      this.draw();
      return true;
    }
    return super.key(key);
  }

  unfinished() {
    if (!this.corners.length) return [];
    const points = [...this.corners, this.pointer ?? this.corners.at(-1)];
    const color = this.color(this.label);
    const line = svg('polyline', {points: points.map(({x, y}) => `${x},${y}`).join(' '), stroke: color, fill: 'none',
      class: 'shape chosen'});
    const {x, y} = this.corners[0];
    return [line, svg('circle', {cx: x, cy: y, r: CLOSE_PIXELS / 2 / this.viewer.scale, fill: color})];
  }

  nudge(polygon, x, y) {
    polygon.vertices = polygon.vertices.map((vertex) => ({x: vertex.x + x, y: vertex.y + y}));
  }

  spell({label, vertices}) {
    return {label, vertices: vertices.map(({x, y}) => ({x, y}))};
  }

  read({label, vertices}) {
    return {label, vertices: (vertices ?? []).map(({x, y}) => ({x, y}))};
  }
});

define('crowd-keypoint', class extends Drawing {
  plural = 'keypoints';
  hint = 'Click where the point is. Arrow keys move the chosen point, Delete removes it.';

  figure({x, y}) {
    return svg('circle', {cx: x, cy: y, r: 6 / this.viewer.scale});
  }

  press(event) {
    if (this.label) this.add({label: this.label, ...this.viewer.at(event)});
  }

  nudge(point, x, y) {
    point.x += x;
    point.y += y;
  }
});
