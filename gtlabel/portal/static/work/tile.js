// One picture of the grid: what it is taken for, and whether that is an exception.

import {node} from '/static/nodes.js';

// A server that is away comes back; a picture that is gone is asked for ever more rarely.
const FIRST_RETRY_MILLISECONDS = 1_000;
const LONGEST_RETRY_MILLISECONDS = 30_000;

export class Tile {
  /** `changed(tile)` hears that another class was chosen; `enlarge(tile)` that somebody wants to look closely. */
  constructor(task, {changed, enlarge}) {
    this.task = task;
    this.changed = changed;
    this.preset = task.suggestion?.class ?? null;
    this.hasOwnPreset = this.preset !== null;
    this.choice = this.preset;
    this.isLoaded = false;
    this.pause = FIRST_RETRY_MILLISECONDS;
    this.image = node('img', {alt: '', decoding: 'async', draggable: 'false', src: task.picture,
      onload: () => this.arrive(true), onerror: () => this.arrive(false)});
    this.pick = node('button', {type: 'button', class: 'pick', tabindex: '-1', onclick: () => this.toggle()}, this.image);
    const options = task.classes.map((name) => node('option', {value: name}, name));
    this.select = node('select', {tabindex: '-1', onchange: () => this.choose(this.select.value || null)},
      node('option', {value: ''}, 'choose …'), ...options);
    this.zoom = node('button', {type: 'button', class: 'zoom', tabindex: '-1', onclick: () => enlarge(this)}, '⤢');
    this.element = node('li', {class: 'tile'}, this.pick, node('span', {class: 'mark', 'aria-hidden': 'true'}, 'marked'),
      node('div', {class: 'below'}, this.select, this.zoom));
  }

  get isMarked() {
    return this.choice !== this.preset;
  }

  /** Whether it may be submitted: nothing is said about a picture that nobody could see. */
  get isDecided() {
    return this.choice !== null && this.isLoaded;
  }

  /** What it is taken for unless somebody says otherwise. */
  presume(name) {
    if (this.hasOwnPreset) return;
    const wasMarked = this.isMarked;
    this.preset = name;
    if (!wasMarked || this.choice === name) this.choice = name;
  }

  choose(name) {
    this.choice = name;
    this.changed(this);
  }

  /** Marks it; of two classes it can only be the other one. */
  toggle() {
    const others = this.task.classes.filter((name) => name !== this.preset);
    if (this.isMarked) this.choose(this.preset);
    else this.choose(others.length === 1 ? others[0] : null);
  }

  arrive(isThere) {
    this.isLoaded = isThere;
    this.pick.replaceChildren(isThere ? this.image : node('span', {class: 'broken'}, 'This picture cannot be shown.'));
    if (!isThere) {
      setTimeout(() => {
        if (this.element.isConnected) this.image.src = this.task.picture;
      }, this.pause);
      this.pause = Math.min(LONGEST_RETRY_MILLISECONDS, this.pause * 2);
    }
    this.changed(this);
  }

  /** Shows what it is; `number` is its place on the page. */
  draw(number) {
    this.element.classList.toggle('marked', this.isMarked);
    this.element.classList.toggle('open', this.choice === null || this.image.complete && !this.isLoaded);
    this.select.value = this.choice ?? '';
    this.select.setAttribute('aria-label', `Class of picture ${number}`);
    this.zoom.setAttribute('aria-label', `Picture ${number} in large`);
    this.pick.setAttribute('aria-pressed', String(this.isMarked));
    const said = this.choice ?? 'no class chosen';
    this.pick.setAttribute('aria-label', `Picture ${number}: ${said}${this.isLoaded ? '' : ', not to be seen'}`);
  }

  /** Only one tile at a time is a stop of the tab key. */
  stop(isStop) {
    for (const part of [this.pick, this.select, this.zoom]) part.tabIndex = isStop ? 0 : -1;
  }
}
