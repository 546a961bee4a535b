// crowd-bounding-box, crowd-polygon and crowd-keypoint: how each looks, is drawn and is spelled.

define('crowd-bounding-box', class extends Drawing {
  plural = 'boundingBoxes';
  hint = 'Drag from corner to corner, or click two corners. Arrow keys move the chosen box, with Shift they change '
    + 'its size, Delete removes it.';

  figure({left, top, width, height}) {
    return svg('rect', {x: left, y: top, width, height});
  }

  /** The first press sets a corner; where it is lifted elsewhere is the other one, else the next click says. */
  press(point) {
    super.press();
    this.isFresh = !this.corner;
    this.corner ??= point;
  }

  drag(point) {
    if (!this.corner) return;
    this.pointer = point;
    this.draw();
  }

  lift(point) {
    if (!this.isPressed) return;
    this.isPressed = false;
    const way = Math.hypot(point.x - this.corner.x, point.y - this.corner.y) * this.viewer.scale;
    if (!this.isFresh || way >= DRAG_PIXELS) this.put(point);
  }

  put(point) {
    if (!this.corner) {
      this.corner = point;
      return;
    }
    const box = this.between(this.corner, point);
    this.drop();
    if (box.width >= SMALLEST_BOX && box.height >= SMALLEST_BOX) this.add(box);
    else this.draw();
  }

  cancel() {
    super.cancel();
    if (this.isFresh) this.drop();
    this.draw();
  }

  drop() {
    Object.assign(this, {corner: null, pointer: null, isFresh: false});
  }

  isDrawing() {
    return Boolean(this.corner);
  }

  between(first, second) {
    return {height: Math.abs(first.y - second.y), label: this.label, left: Math.min(first.x, second.x),
      top: Math.min(first.y, second.y), width: Math.abs(first.x - second.x)};
  }

  unfinished() {
    if (!this.corner) return [];
    return [this.outline(this.between(this.corner, this.pointer ?? this.corner))];
  }

  nudge(box, x, y) {
    const {width, height} = this.size();
    box.left = Math.min(width - box.width, Math.max(0, box.left + x));
    box.top = Math.min(height - box.height, Math.max(0, box.top + y));
  }

  stretch(box, x, y) {
    const {width, height} = this.size();
    box.width = Math.min(width - box.left, Math.max(SMALLEST_BOX, box.width + x));
    box.height = Math.min(height - box.top, Math.max(SMALLEST_BOX, box.height + y));
  }

  spell({height, label, left, top, width}) {
    return {height, label, left, top, width};
  }

  /** Of adjusted boxes an answer says whether anybody changed them; the other elements' answers do not. */
  get _submittableValue() {
    const answer = super._submittableValue;
    const initial = this.initial();
    if (initial === undefined) return answer;
    const before = (Array.isArray(initial) ? initial : []).map((box) => this.spell(box));
    return {...answer, initialValueModified: JSON.stringify(before) !== JSON.stringify(answer.boundingBoxes)};
  }
});

define('crowd-polygon', class extends Drawing {
  plural = 'polygons';
  hint = 'Click the corners; click the first one again, or press Enter, to close. Escape drops an unfinished one.';
  corners = [];

  figure({vertices}) {
    return svg('polygon', {points: vertices.map(({x, y}) => `${x},${y}`).join(' ')});
  }

  put(point) {
    const [first] = this.corners;
    const isClosing = first && Math.hypot(first.x - point.x, first.y - point.y) * this.viewer.scale <= CLOSE_PIXELS;
    if (isClosing && this.corners.length >= 3) this.close();
    else this.corners.push(point);
  }

  drag(point) {
    this.pointer = point;
    if (this.corners.length) this.draw();
  }

  isDrawing() {
    return this.corners.length > 0;
  }

  drop() {
    this.corners = [];
  }

  close() {
    const vertices = this.corners;
    this.drop();
    this.add({label: this.label, vertices});
  }

  steer(event) {
    if (event.key !== 'Enter' || this.corners.length < 3) return super.steer(event);
    this.close();
    return true;
  }

  key(key) {
    if (key === 'Enter' && this.corners.length >= 3) {
      this.close();
    } else if (key === 'Backspace' && this.corners.length) {
      this.corners.pop();
      this.draw();
    } else if (key === 'Escape' && this.corners.length) {
      this.drop();
      this.draw();
    } else {
      return super.key(key);
    }
    return true;
  }

  unfinished() {
    if (!this.corners.length) return [];
    const points = [...this.corners, this.pointer ?? this.corners.at(-1)];
    const color = this.color(this.label);
    const line = svg('polyline', {points: points.map(({x, y}) => `${x},${y}`).join(' '), stroke: color, fill: 'none',
      class: 'shape chosen'});
    const {x, y} = this.corners[0];
    return [line, svg('circle', {cx: x, cy: y, class: 'dot', fill: color})];
  }

  nudge(polygon, x, y) {
    const {width, height} = this.size();
    const moved = polygon.vertices.map((vertex) => ({x: vertex.x + x, y: vertex.y + y}));
    const isInside = moved.every((vertex) => vertex.x >= 0 && vertex.y >= 0 && vertex.x <= width && vertex.y <= height);
    if (isInside) polygon.vertices = moved;
  }

  spell({label, vertices}) {
    return {label, vertices: (vertices ?? []).map(({x, y}) => ({x, y}))};
  }
});

define('crowd-keypoint', class extends Drawing {
  plural = 'keypoints';
  hint = 'Click where the point is. Arrow keys move the chosen point, Delete removes it.';

  figure({x, y}) {
    return svg('circle', {cx: x, cy: y, class: 'dot'});
  }

  put(point) {
    this.add({label: this.label, ...point});
  }

  nudge(point, x, y) {
    Object.assign(point, this.viewer.within(point.x + x, point.y + y));
  }

  spell({label, x, y}) {
    return {label, x, y};
  }
});
