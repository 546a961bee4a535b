// The picture of a task: fitted, zoomed, moved, brightened, with what an earlier job drew over it.

const LARGEST_SCALE = 40;
const SMALLEST_SCALE = 0.02;
const PAN_PIXELS = 60;
const NEAR_PIXELS = 20;
// A server that is away comes back; a picture that is gone is asked for ever more rarely.
const FIRST_RETRY_MILLISECONDS = 1_000;
const LONGEST_RETRY_MILLISECONDS = 30_000;
const USUAL_LIGHT = {brightness: 100, contrast: 100};

const VIEWER_LOOK = `
.viewport { flex: 1; min-height: 0; overflow: hidden; position: relative; background: #1d2127; touch-action: none;
  cursor: grab; }
.viewport.fitted { touch-action: pan-y; }
.viewport:focus-visible { outline-offset: -3px; outline-color: #6cb8ff; }
.viewport img, .viewport .over { position: absolute; left: 0; top: 0; transform-origin: 0 0; user-select: none;
  -webkit-user-drag: none; max-width: none; }
.over .box { position: absolute; border: calc(3px / var(--scale, 1)) solid #ff9900; }
.over .box span { position: absolute; left: 0; top: 0; font-size: calc(14px / var(--scale, 1)); padding: 0 .3em;
  color: #fff; background: rgb(0 0 0 / .7); white-space: nowrap; }
.over img { opacity: .45; }
.viewport img:not([src]) { visibility: hidden; }
.viewport .broken { position: absolute; inset: 0; display: grid; place-content: center; color: #fff;
  text-align: center; padding: 16px; margin: 0; }
.toolbar { display: flex; gap: 6px; padding: 6px 10px; flex-wrap: wrap; align-items: center;
  border-top: 1px solid var(--line); background: var(--paper); }
.light { display: flex; gap: 12px; flex-wrap: wrap; }
.light label { display: inline-flex; align-items: center; gap: 6px; font-size: 13px; color: var(--soft); }
.light input { width: 64px; min-height: 24px; }
.toolbar button { padding: 6px 10px; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 14px; list-style: none; margin: 0 0 0 auto; padding: 0; }
.legend li { display: flex; align-items: center; gap: 6px; font-size: 13px; }
.swatch { width: 16px; height: 16px; border-radius: 4px; border: 1px solid var(--line); flex: none; }
@media (min-width: 761px) { .light-toggle { display: none; } }
@media (max-width: 760px) {
  .toolbar { padding: 6px; gap: 4px; }
  .toolbar button { min-width: 40px; padding: 6px 8px; }
  .light { display: none; width: 100%; }
  .light.open { display: flex; }
}
`;

class Viewer {
  /**
   * `title` stands for the picture where it cannot be seen: file names could give the answer away.
   * Pictures are shown upright; `isRaw` shows them as their pixels are stored, which is what boxes are measured in.
   * `steer` gets the keys first while the picture has the focus, and says whether it used one.
   */
  constructor(title, {isRaw = false, changed = () => {}, steer = () => false} = {}) {
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.isFitted = true;
    this.isRaw = isRaw;
    this.light = {...USUAL_LIGHT};
    this.changed = changed;
    this.steer = steer;
    // Only of pictures that their server lets be read does a browser show the stored pixels.
    this.image = make('img', {alt: title, draggable: 'false', crossorigin: isRaw ? 'anonymous' : null,
      onload: () => this.loaded(), onerror: () => this.failed()});
    if (isRaw) this.image.style.imageOrientation = 'none';
    this.over = make('div', {class: 'over'});
    this.element = make('div', {class: 'viewport fitted', tabindex: '0', role: 'group',
      'aria-label': 'Picture. Plus and minus zoom, arrow keys move, f fits.',
      onkeydown: (event) => event.target === this.element && this.arrow(event), onwheel: (event) => this.wheel(event),
    }, this.image, this.over);
    this.bar = this.toolbar();
    this.follow();
    new ResizeObserver(() => (this.isFitted ? this.fit() : this.paint())).observe(this.element);
  }

  toolbar() {
    const button = (text, title, work) => make('button',
      {type: 'button', title, 'aria-label': title, onclick: work}, text);
    const range = (title, name) => make('label', {}, title, make('input', {type: 'range', min: 20, max: 300,
      value: 100, 'aria-label': title, oninput: (event) => this.lighten(name, event.target.value)}));
    this.legend = make('ul', {class: 'legend', 'aria-label': 'Colors'});
    const light = make('div', {class: 'light', id: 'light'}, range('Brightness', 'brightness'),
      range('Contrast', 'contrast'));
    const toggle = button('◐', 'Brightness and contrast', () => {
      toggle.setAttribute('aria-expanded', String(light.classList.toggle('open')));
    });
    toggle.className = 'light-toggle';
    toggle.setAttribute('aria-expanded', 'false');
    return make('div', {class: 'toolbar', role: 'group', 'aria-label': 'Picture tools'},
      button('+', 'Zoom in', () => this.zoom(1.25)), button('−', 'Zoom out', () => this.zoom(0.8)),
      button('Fit', 'Fit the picture', () => this.reset()),
      button('←', 'Look to the left', () => this.pan(PAN_PIXELS, 0)),
      button('→', 'Look to the right', () => this.pan(-PAN_PIXELS, 0)),
      button('↑', 'Look up', () => this.pan(0, PAN_PIXELS)),
      button('↓', 'Look down', () => this.pan(0, -PAN_PIXELS)), toggle, light);
  }

  load(source, overlay = null) {
    this.overlay = overlay;
    this.source = isAddress(source) ? source.trim() : null;
    this.pause = FIRST_RETRY_MILLISECONDS;
    this.state = 'loading';
    this.element.querySelector('.broken')?.remove();
    this.fetch();
  }

  fetch() {
    clearTimeout(this.retry);
    if (this.isRaw) this.image.crossOrigin = 'anonymous';
    if (this.source) this.image.src = this.source;
    else this.failed();
  }

  loaded() {
    this.state = 'loaded';
    this.element.querySelector('.broken')?.remove();
    // Behind another task, so that nothing is left to do when this one is shown; it may be dropped meanwhile.
    this.image.decode().catch(() => {});
    this.fit();
    this.drawOverlay();
    this.changed();
    tellShell('image', {ok: true});
  }

  failed() {
    if (this.image.crossOrigin !== null && this.image.hasAttribute('src')) {
      const source = this.image.src;
      this.image.removeAttribute('crossorigin');
      this.image.src = source;
      return;
    }
    this.image.removeAttribute('src');
    if (this.source) {
      this.retry = setTimeout(() => this.fetch(), this.pause);
      this.pause = Math.min(LONGEST_RETRY_MILLISECONDS, this.pause * 2);
    }
    if (this.state === 'failed') return;
    this.state = 'failed';
    this.element.append(make('p', {class: 'broken', role: 'alert'},
      'The picture does not load. Decline the task rather than guess.'));
    this.changed();
    tellShell('image', {ok: false});
  }

  /** What an earlier job found, over the picture: boxes by their pixels, segments as a translucent picture. */
  drawOverlay() {
    this.over.replaceChildren();
    this.legend.remove();
    let found;
    try {
      found = readValue(this.overlay) ?? {};
    } catch (error) {
      console.error(`overlay: ${error.message}`);
      return;
    }
    const boxes = found.boundingBox?.value ?? found.boundingBox?.annotations ?? [];
    for (const box of Array.isArray(boxes) ? boxes : []) {
      const label = box.label ?? found.boundingBox.labels?.[box.class_id] ?? '';
      const node = make('div', {class: 'box'}, make('span', {}, String(label)));
      for (const side of ['left', 'top', 'width', 'height']) node.style[side] = `${Number(box[side])}px`;
      this.over.append(node);
    }
    for (const kind of ['semanticSegmentation', 'instanceSegmentation']) {
      if (isAddress(found[kind]?.src)) this.over.append(make('img', {alt: '', src: found[kind].src}));
      this.explain(found[kind]?.labelMappings ?? {});
    }
  }

  /** Says which color of the segments means what. */
  explain(mappings) {
    const entries = Object.entries(mappings).map(([label, {color}]) => {
      const swatch = make('span', {class: 'swatch'});
      swatch.style.background = color;
      return make('li', {}, swatch, label);
    });
    if (!entries.length) return;
    this.legend.replaceChildren(...entries);
    this.bar.append(this.legend);
  }

  /** How many pixels the picture has, as it is shown; its natural size is that of the upright one in any case. */
  size() {
    const {naturalHeight, naturalWidth, offsetHeight, offsetWidth} = this.image;
    return this.isRaw ? {height: offsetHeight, width: offsetWidth} : {height: naturalHeight, width: naturalWidth};
  }

  fit() {
    const {width, height} = this.element.getBoundingClientRect();
    const own = this.size();
    if (!own.width || !width || !height) return;
    this.scale = Math.min(width / own.width, height / own.height);
    this.x = (width - own.width * this.scale) / 2;
    this.y = (height - own.height * this.scale) / 2;
    this.isFitted = true;
    this.paint();
  }

  reset() {
    this.light = {...USUAL_LIGHT};
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
    this.isFitted = false;
    this.paint();
  }

  pan(x, y) {
    this.x += x;
    this.y += y;
    this.isFitted = false;
    this.paint();
  }

  lighten(name, percent) {
    this.light[name] = Number(percent);
    this.paint();
  }

  paint() {
    for (const node of [this.image, this.over]) {
      node.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.scale})`;
    }
    this.over.style.setProperty('--scale', this.scale);
    // A finger on a picture that is fitted scrolls the page; on one that was zoomed it moves the picture.
    this.element.classList.toggle('fitted', this.isFitted && !this.isDrawing);
    const {brightness, contrast} = this.light;
    const plain = brightness === 100 && contrast === 100;
    this.image.style.filter = plain ? '' : `brightness(${brightness}%) contrast(${contrast}%)`;
  }

  /** Where on the picture, in its own pixels, a pointer is. */
  at(event) {
    const frame = this.element.getBoundingClientRect();
    return this.within((event.clientX - frame.left - this.x) / this.scale,
      (event.clientY - frame.top - this.y) / this.scale);
  }

  /** The pixel of the picture that is nearest to a place. */
  within(x, y) {
    const clamped = (value, most) => Math.min(most, Math.max(0, Math.round(value)));
    const {height, width} = this.size();
    return {x: clamped(x, width), y: clamped(y, height)};
  }

  /** Whether a pointer is on the picture, or nearly so. */
  holds({clientX, clientY}) {
    const {left, top, right, bottom} = this.image.getBoundingClientRect();
    return clientX >= left - NEAR_PIXELS && clientX <= right + NEAR_PIXELS
      && clientY >= top - NEAR_PIXELS && clientY <= bottom + NEAR_PIXELS;
  }

  /** Moves the picture so that one of its pixels can be seen. */
  reveal({x, y}) {
    const {width, height} = this.element.getBoundingClientRect();
    const beyond = (at, most) => (at < 0 ? -at + NEAR_PIXELS : Math.min(0, most - at - NEAR_PIXELS));
    const [right, down] = [beyond(this.x + x * this.scale, width), beyond(this.y + y * this.scale, height)];
    if (!this.isFitted && (right || down)) this.pan(right, down);
  }

  wheel(event) {
    event.preventDefault();
    const frame = this.element.getBoundingClientRect();
    this.zoom(event.deltaY < 0 ? 1.15 : 1 / 1.15, event.clientX - frame.left, event.clientY - frame.top);
  }

  arrow(event) {
    const moves = {ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]};
    const move = moves[event.key];
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey;
    if (isPlain && this.steer(event)) event.preventDefault();
    else if (isPlain && move) {
      event.preventDefault();
      this.pan(move[0] * PAN_PIXELS, move[1] * PAN_PIXELS);
    }
  }

  key(key) {
    const work = {'+': () => this.zoom(1.25), '=': () => this.zoom(1.25), '-': () => this.zoom(0.8),
      f: () => this.reset()}[key];
    work?.();
    return Boolean(work);
  }

  /** One finger or the mouse moves the picture, two fingers zoom it; where there is drawing, one finger draws. */
  follow() {
    const fingers = new Map();
    const frame = () => this.element.getBoundingClientRect();
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
      const isScrolling = event.pointerType === 'touch' && this.isFitted;
      if (fingers.size === 1 && !this.isDrawing && !isScrolling) {
        this.pan(event.clientX - last.clientX, event.clientY - last.clientY);
      } else if (fingers.size === 2 && before) {
        const [first, second] = [...fingers.values()];
        const {left, top} = frame();
        this.zoom(spread() / before, (first.clientX + second.clientX) / 2 - left,
          (first.clientY + second.clientY) / 2 - top);
        before = spread();
      }
    });
    for (const end of ['pointerup', 'pointercancel']) {
      this.element.addEventListener(end, (event) => fingers.delete(event.pointerId));
    }
  }
}
