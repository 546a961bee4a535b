// The picture of a task: fitted, zoomed, moved, brightened, with what an earlier job drew over it.

const LARGEST_SCALE = 40;
const SMALLEST_SCALE = 0.02;

const VIEWER_LOOK = `
.viewport { flex: 1; min-height: 0; overflow: hidden; position: relative; background: #1d2127; touch-action: none;
  cursor: grab; }
.viewport.drawing { cursor: crosshair; }
.viewport img, .viewport .over { position: absolute; left: 0; top: 0; transform-origin: 0 0; user-select: none;
  -webkit-user-drag: none; max-width: none; }
.viewport .broken { position: absolute; inset: 0; display: grid; place-content: center; color: #fff;
  text-align: center; padding: 16px; }
.toolbar { display: flex; gap: 6px; padding: 6px 10px; flex-wrap: wrap; align-items: center;
  border-top: 1px solid var(--line); background: var(--paper); }
.toolbar label { display: inline-flex; align-items: center; gap: 6px; font-size: 13px; color: var(--soft); }
.toolbar input { width: 96px; min-height: 24px; }
@media (max-width: 760px) { .toolbar label { display: none; } }
`;

class Viewer {
  /**
   * `title` stands for the picture where it cannot be seen: file names could give the answer away.
   */
  constructor(title) {
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.light = {brightness: 100, contrast: 100};
    this.image = make('img', {alt: title, draggable: 'false', onload: () => this.loaded(),
      onerror: () => this.failed()});
    this.over = make('div', {class: 'over'});
    this.element = make('div', {class: 'viewport', tabindex: '0', role: 'group',
      'aria-label': 'Picture. Plus and minus zoom, arrow keys move, f fits.',
      onkeydown: (event) => this.arrow(event), onwheel: (event) => this.wheel(event),
    }, this.image, this.over);
    this.bar = this.toolbar();
    this.follow();
    new ResizeObserver(() => this.fit()).observe(this.element);
  }

  toolbar() {
    const button = (text, title, work) => make('button',
      {type: 'button', title, 'aria-label': title, onclick: work}, text);
    const range = (title, name) => make('label', {}, title, make('input', {type: 'range', min: 20, max: 300,
      value: 100, 'aria-label': title, 'data-light': name,
      oninput: (event) => this.lighten(name, event.target.value)}));
    return make('div', {class: 'toolbar', role: 'group', 'aria-label': 'Picture tools'},
      button('+', 'Zoom in', () => this.zoom(1.25)), button('−', 'Zoom out', () => this.zoom(0.8)),
      button('Fit', 'Fit the picture', () => this.reset()), range('Brightness', 'brightness'),
      range('Contrast', 'contrast'));
  }

  load(source, overlay) {
    this.overlay = overlay;
    this.element.querySelector('.broken')?.remove();
    this.state = 'loading';
    if (isAddress(source)) this.image.src = source;
    else this.failed();
  }

  loaded() {
    this.state = 'loaded';
    this.fit();
    this.drawOverlay();
    tellShell('image', {ok: true});
  }

  failed() {
    this.state = 'failed';
    this.image.removeAttribute('src');
    this.element.querySelector('.broken')?.remove();
    this.element.append(make('p', {class: 'broken', role: 'alert'},
      'The picture does not load. Decline the task rather than guess.'));
    tellShell('image', {ok: false});
  }

  /** What an earlier job found, over the picture: boxes by their pixels, segments as a translucent picture. */
  drawOverlay() {
    this.over.replaceChildren();
    let found;
    try {
      found = readValue(this.overlay) ?? {};
    } catch (error) {
      console.warn(`overlay: ${error.message}`);
      return;
    }
    const boxes = found.boundingBox?.value ?? found.boundingBox?.annotations ?? [];
    for (const box of Array.isArray(boxes) ? boxes : []) {
      const label = box.label ?? found.boundingBox.labels?.[box.class_id] ?? '';
      const node = make('div', {class: 'box'}, String(label));
      Object.assign(node.style, {position: 'absolute', border: '3px solid #ff9900', color: '#fff',
        left: `${Number(box.left)}px`, top: `${Number(box.top)}px`, width: `${Number(box.width)}px`,
        height: `${Number(box.height)}px`, textShadow: '0 0 3px #000'});
      this.over.append(node);
    }
    for (const kind of ['semanticSegmentation', 'instanceSegmentation']) {
      const source = found[kind]?.src;
      if (isAddress(source)) {
        const node = make('img', {alt: '', src: source});
        node.style.opacity = '.45';
        this.over.append(node);
      }
    }
  }

  fit() {
    const {width, height} = this.element.getBoundingClientRect();
    const {naturalWidth, naturalHeight} = this.image;
    if (!naturalWidth || !width || !height) return;
    this.scale = Math.min(width / naturalWidth, height / naturalHeight);
    this.x = (width - naturalWidth * this.scale) / 2;
    this.y = (height - naturalHeight * this.scale) / 2;
    this.paint();
  }

  reset() {
    this.light = {brightness: 100, contrast: 100};
    for (const input of this.bar.querySelectorAll('input')) input.value = 100;
    this.fit();
  }

  zoom(factor, x, y) {
    const {width, height} = this.element.getBoundingClientRect();
    const [toX, toY] = [x ?? width / 2, y ?? height / 2];
    const scale = Math.min(LARGEST_SCALE, Math.max(SMALLEST_SCALE, this.scale * factor));
    this.x = toX - (toX - this.x) * (scale / this.scale);
    this.y = toY - (toY - this.y) * (scale / this.scale);
    this.scale = scale;
    this.paint();
  }

  pan(x, y) {
    this.x += x;
    this.y += y;
    this.paint();
  }

  lighten(name, percent) {
    this.light[name] = Number(percent);
    this.paint();
  }

  paint() {
    for (const layer of [this.image, this.over]) {
      layer.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    }
    const {brightness, contrast} = this.light;
    const plain = brightness === 100 && contrast === 100;
    this.image.style.filter = plain ? '' : `brightness(${brightness}%) contrast(${contrast}%)`;
  }

  /** Where on the picture, in its own pixels, a pointer is. */
  at(event) {
    const frame = this.element.getBoundingClientRect();
    const within = (value, most) => Math.min(most, Math.max(0, Math.round(value)));
    return {
      x: within((event.clientX - frame.left - this.x) / this.scale, this.image.naturalWidth),
      y: within((event.clientY - frame.top - this.y) / this.scale, this.image.naturalHeight),
    };
  }

  wheel(event) {
    event.preventDefault();
    const frame = this.element.getBoundingClientRect();
    this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.clientX - frame.left, event.clientY - frame.top);
  }

  arrow(event) {
    const moves = {ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40]};
    const move = event.target === this.element && moves[event.key];
    if (!move) return;
    event.preventDefault();
    this.pan(...move);
  }

  key(key) {
    const work = {'+': () => this.zoom(1.25), '=': () => this.zoom(1.25), '-': () => this.zoom(0.8),
      f: () => this.reset()}[key];
    work?.();
    return Boolean(work);
  }

  /** One finger or the mouse moves the picture, two fingers zoom it. `isDrawing` leaves the first to others. */
  follow() {
    const fingers = new Map();
    const spread = () => {
      const [first, second] = [...fingers.values()];
      return Math.hypot(first.clientX - second.clientX, first.clientY - second.clientY);
    };
    let before = 0;
    this.element.addEventListener('pointerdown', (event) => {
      this.element.setPointerCapture(event.pointerId);
      fingers.set(event.pointerId, event);
      before = fingers.size === 2 ? spread() : 0;
    });
    this.element.addEventListener('pointermove', (event) => {
      const last = fingers.get(event.pointerId);
      if (!last) return;
      fingers.set(event.pointerId, event);
      if (fingers.size === 1 && !this.isDrawing) {
        this.pan(event.clientX - last.clientX, event.clientY - last.clientY);
      } else if (fingers.size === 2 && before) {
        const frame = this.element.getBoundingClientRect();
        const [first, second] = [...fingers.values()];
        const middle = [(first.clientX + second.clientX) / 2, (first.clientY + second.clientY) / 2];
        this.zoom(spread() / before, middle[0] - frame.left, middle[1] - frame.top);
        before = spread();
      }
    });
    for (const end of ['pointerup', 'pointercancel']) {
      this.element.addEventListener(end, (event) => fingers.delete(event.pointerId));
    }
  }
}
