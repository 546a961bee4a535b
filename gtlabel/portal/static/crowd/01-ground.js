// What all crowd elements stand on: the page's settings, values written in attributes, nodes, colors, base classes.
// The files of this folder are joined in the order of their names, inside one function of their own.

const settings = Object.assign(
  {portalOrigin: null, nonce: null, fast: false, hotkeys: true},
  window.__gtlabel,
);

const DEEPEST = 64;
const ESCAPES = {n: '\n', t: '\t', r: '\r', b: '\b', f: '\f'};

/**
 * Reads a value as templates write it: JSON, or the JSON-like text of AWS's own examples, with single quotes,
 * bare keys and commas at the end. Nothing is ever evaluated.
 */
function readValue(text) {
  if (typeof text !== 'string') return text;
  try {
    return JSON.parse(text);
  } catch {
    return new RelaxedReader(text).read();
  }
}

class RelaxedReader {
  constructor(text) {
    this.text = text;
    this.place = 0;
  }

  read() {
    const value = this.value(0);
    this.skipSpace();
    if (this.place < this.text.length) this.fail();
    return value;
  }

  fail() {
    const near = this.text.slice(this.place, this.place + 20);
    throw new SyntaxError(`the value is not understood at character ${this.place}: ${near}`);
  }

  skipSpace() {
    while (this.place < this.text.length && /\s/.test(this.text[this.place])) this.place++;
  }

  next() {
    this.skipSpace();
    return this.text[this.place];
  }

  take(expected) {
    if (this.next() !== expected) return false;
    this.place++;
    return true;
  }

  value(depth) {
    if (depth > DEEPEST) this.fail();
    const first = this.next();
    if (first === '"' || first === "'") return this.string();
    if (first === '[') return this.list(depth);
    if (first === '{') return this.object(depth);
    return this.word();
  }

  list(depth) {
    const items = [];
    this.place++;
    while (!this.take(']')) {
      items.push(this.value(depth + 1));
      if (!this.take(',') && this.next() !== ']') this.fail();
    }
    return items;
  }

  object(depth) {
    const members = [];
    this.place++;
    while (!this.take('}')) {
      const quoted = this.next() === '"' || this.next() === "'";
      const key = quoted ? this.string() : this.match(/[\w$][\w$-]*/y);
      if (!this.take(':')) this.fail();
      members.push([key, this.value(depth + 1)]);
      if (!this.take(',') && this.next() !== '}') this.fail();
    }
    return Object.fromEntries(members);
  }

  string() {
    const quote = this.text[this.place++];
    let read = '';
    while (this.place < this.text.length && this.text[this.place] !== quote) {
      const character = this.text[this.place++];
      read += character === '\\' ? this.escaped() : character;
    }
    if (this.place >= this.text.length) this.fail();
    this.place++;
    return read;
  }

  escaped() {
    const character = this.text[this.place++];
    if (character !== 'u') return ESCAPES[character] ?? character ?? '';
    return String.fromCharCode(parseInt(this.match(/[0-9a-fA-F]{4}/y), 16));
  }

  word() {
    return JSON.parse(this.match(/true|false|null|-?\d+(\.\d+)?([eE][+-]?\d+)?/y));
  }

  match(pattern) {
    pattern.lastIndex = this.place;
    const found = pattern.exec(this.text);
    if (!found) this.fail();
    this.place = pattern.lastIndex;
    return found[0];
  }
}

/** The same value with the keys of every object in alphabetical order, as Ground Truth stores answers. */
function sortKeys(value) {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sortKeys(value[key])]));
}

/** A new node: attributes, listeners (`onclick`), and children; text never becomes markup. */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Runs once the whole document was read: elements are upgraded before their children are there. */
function afterParsing(work) {
  if (document.readyState === 'loading') document.addEventListener('DOMContentLoaded', work, {once: true});
  else queueMicrotask(work);
}

/** Whether an address may be shown or opened: no script hides in it. */
function isAddress(text) {
  return /^\s*(https?:|data:image\/|blob:|\/|\.|#)/i.test(text ?? '');
}

const LOOK = `
:host { box-sizing: border-box; font: 15px/1.45 system-ui, sans-serif; color: var(--ink);
  --ink: light-dark(#16191f, #e9ebed); --soft: light-dark(#545b64, #a9b3ba); --paper: light-dark(#fff, #16191f);
  --shade: light-dark(#f4f5f6, #21262d); --line: light-dark(#879596, #6b7780);
  --accent: light-dark(#0061a8, #6cb8ff); --tint: light-dark(#eaf4fd, #17324a);
  --call: light-dark(#b0440c, #ffac5e); --on-call: light-dark(#fff, #2a1503);
  --bad: light-dark(#a8201a, #ff9c93); }
:host([hidden]) { display: none; }
*, *::before { box-sizing: border-box; }
button, .button { font: inherit; color: var(--ink); background: var(--paper); border: 1px solid var(--line);
  min-height: 44px; min-width: 44px; padding: 6px 16px; border-radius: 6px; cursor: pointer;
  display: inline-flex; align-items: center; justify-content: center; gap: 6px; text-decoration: none; }
button:hover:enabled, .button:hover { background: var(--shade); }
button.primary { background: var(--call); border-color: var(--call); color: var(--on-call); font-weight: 600; }
button.primary:hover:enabled { filter: brightness(1.1); }
button.link { border-color: transparent; color: var(--accent); text-decoration: underline; background: none; }
button:disabled { opacity: .5; cursor: default; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
input, textarea { font: inherit; color: var(--ink); background: var(--paper); accent-color: var(--accent); }
.error { color: var(--bad); margin: 6px 0; min-height: 1.45em; overflow-wrap: anywhere; }
dialog { max-width: min(800px, 94vw); border: 1px solid var(--line); border-radius: 8px; background: var(--paper);
  color: var(--ink); padding: 20px; }
dialog::backdrop { background: rgb(0 0 0 / .5); }
dialog h2 { margin: 0 0 12px; font-size: 20px; }
@media (prefers-reduced-motion: no-preference) { button { transition: background .1s; } }
`;

/** A crowd element: it builds itself once, however often it is moved about. */
class CrowdElement extends HTMLElement {
  static look = '';

  constructor() {
    super();
    this.attachShadow({mode: 'open', delegatesFocus: this.constructor.delegates ?? false});
  }

  connectedCallback() {
    if (this.isBuilt) return;
    this.isBuilt = true;
    this.shadowRoot.append(make('style', {}, LOOK + this.constructor.look));
    this.build();
  }

  build() {
    this.shadowRoot.append(make('slot'));
  }

  /** A boolean attribute; templates also write `disabled="false"`. */
  has(name) {
    return this.hasAttribute(name) && this.getAttribute(name) !== 'false';
  }
}

/** An element that has a part in the answer. */
class Control extends CrowdElement {
  static formAssociated = true;

  constructor() {
    super();
    this.internals = this.attachInternals();
  }

  connectedCallback() {
    // Browsers refuse clicks on whatever bears the attribute, also where it says "false".
    if (this.getAttribute('disabled') === 'false') this.removeAttribute('disabled');
    super.connectedCallback();
  }

  /** The form is reset: what the page said at first counts again. */
  formResetCallback() {
    this.restore(this.initial());
  }

  get name() {
    return this.getAttribute('name');
  }

  set name(value) {
    this.setAttribute('name', value);
  }

  get disabled() {
    return this.has('disabled');
  }

  set disabled(value) {
    this.toggleAttribute('disabled', Boolean(value));
  }

  get required() {
    return this.has('required');
  }

  get form() {
    return this.internals.form;
  }

  checkValidity() {
    return this.internals.checkValidity();
  }

  reportValidity() {
    return this.internals.reportValidity();
  }

  /** What labels of HTML call it: they reach the element, and not the field in its shadow. */
  calledByLabels() {
    return [...this.internals.labels].map((label) => label.textContent.trim()).join(' ');
  }

  /** Says that a worker changed something. */
  changed() {
    this.validate();
    this.dispatchEvent(new Event('input', {bubbles: true, composed: true}));
    this.dispatchEvent(new Event('change', {bubbles: true, composed: true}));
  }

  /** Takes or gives back the blame; `anchor` is where the browser points. */
  blame(sentence, anchor) {
    this.internals.setValidity(sentence ? {customError: true} : {}, sentence, sentence ? anchor : undefined);
  }

  validate() {}
}

const REGIONS = [
  'short-instructions', 'full-instructions', 'classification-target', 'worker-comment', 'short-summary',
  'detailed-instructions', 'positive-example', 'negative-example',
];

/** Puts bare region tags into the slots of the same names, also those that the parser brings later. */
function slotRegions(host) {
  const assign = () => {
    for (const child of host.children) {
      if (REGIONS.includes(child.localName) && child.slot !== child.localName) child.slot = child.localName;
    }
  };
  assign();
  new MutationObserver(assign).observe(host, {childList: true});
}

/** A dialog with a heading and a button that closes it. */
function dialogOf(title, ...content) {
  const dialog = make('dialog', {class: 'awsui-modal-dialog', 'aria-label': title || 'Details'});
  const close = make('button', {type: 'button', onclick: () => dialog.close()}, 'Close');
  if (title) dialog.append(make('h2', {}, title));
  dialog.append(...content, make('p', {}, close));
  return dialog;
}

const definitions = new Map();

/** Names an element; all of them come to life together, when the last file was read. */
function define(name, elementClass) {
  definitions.set(name, elementClass);
}
