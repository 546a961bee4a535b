// The generic controls: what people type, tick and toggle.

const FIELD_TYPES = ['text', 'password', 'number', 'date', 'time', 'datetime-local', 'month', 'week', 'email', 'tel',
  'url', 'search', 'color', 'range', 'hidden'];
// A pattern that describes one character, as AWS's means it: a class, or a class of its own name.
const EACH_CHARACTER = /^\^?(\[(?:[^\]\\]|\\.)+\]|\\[dws])[+*]?\$?$/i;

const FIELD_LOOK = `
:host { display: block; margin: 8px 0; }
label { display: block; }
label span { display: block; margin: 0 0 4px; }
input, textarea { width: 100%; min-height: 44px; padding: 8px 10px; border: 1px solid var(--line);
  border-radius: 6px; }
.counter { color: var(--soft); font-size: 13px; text-align: right; }
textarea { display: block; resize: vertical; field-sizing: content; }
`;

class Field extends Control {
  static delegates = true;
  static observedAttributes = ['value', 'disabled', 'placeholder', 'label'];
  static look = FIELD_LOOK;

  makeField() {
    const type = (this.getAttribute('type') ?? '').toLowerCase();
    // There is no attribute for the step of a number, so that every number is as good as a whole one.
    return make('input', {type: FIELD_TYPES.includes(type) ? type : 'text', step: type === 'number' ? 'any' : null});
  }

  build() {
    const field = this.makeField();
    for (const [ours, theirs] of [['max-length', 'maxlength'], ['min-length', 'minlength'],
      ['placeholder', 'placeholder']]) {
      if (this.hasAttribute(ours)) field.setAttribute(theirs, this.getAttribute(ours));
    }
    this.field = field;
    this.caption = make('span', {}, this.getAttribute('label') ?? '');
    this.alarm = make('div', {class: 'error', role: 'alert'});
    field.value = this.pending ?? this.getAttribute('value') ?? '';
    field.disabled = this.disabled;
    field.addEventListener('input', (event) => {
      event.stopPropagation();
      this.alarm.textContent = this.has('auto-validate') ? this.problem() : '';
      this.count();
      this.changed();
    });
    field.addEventListener('beforeinput', (event) => this.ignore(event));
    field.addEventListener('keydown', (event) => this.enter(event));
    // The field's own event does not leave the shadow; whoever listens was told by `changed`.
    field.addEventListener('change', (event) => event.stopPropagation());
    afterParsing(() => this.nameField());
    this.shadowRoot.append(make('label', {}, this.caption, field), this.alarm);
    this.validate();
    if (this.has('auto-focus')) afterParsing(() => field.focus());
  }

  /** A field without a label of its own is called what the page, its placeholder or its name says. */
  nameField() {
    const name = this.getAttribute('label') ? ''
      : (this.calledByLabels() || this.getAttribute('placeholder') || this.name);
    if (name) this.field.setAttribute('aria-label', name);
  }

  /** Enter submits from a field of one line, as it does from one of HTML, whose form would not see this one. */
  enter(event) {
    const isPlain = !event.isComposing && !event.ctrlKey && !event.metaKey && !event.altKey && !event.shiftKey;
    if (event.key !== 'Enter' || !isPlain || this.field.localName !== 'input') return;
    event.preventDefault();
    formOf(this)?.requestSubmit();
  }

  /** Where a pattern says which characters there may be, others are not even typed. */
  ignore(event) {
    const [, characters] = EACH_CHARACTER.exec(this.getAttribute('allowed-pattern') ?? '') ?? [];
    if (!characters || !event.data || !this.has('auto-validate')) return;
    if ([...event.data].every((character) => new RegExp(characters, 'u').test(character))) return;
    event.preventDefault();
    this.alarm.textContent = this.sentence('This character is not allowed here.');
  }

  attributeChangedCallback(name, _before, value) {
    if (!this.isBuilt || !this.field) return;
    if (name === 'value') this.field.value = value ?? '';
    if (name === 'label') this.caption.textContent = value ?? '';
    if (name === 'placeholder') this.field.placeholder = value ?? '';
    this.field.disabled = this.disabled;
    this.validate();
  }

  get value() {
    return this.field ? this.field.value : (this.pending ?? this.getAttribute('value') ?? '');
  }

  set value(value) {
    const text = String(value ?? '');
    if (!this.field) {
      this.pending = text;
      return;
    }
    this.field.value = text;
    this.count();
    this.validate();
  }

  get _submittableValue() {
    return this.value === '' ? undefined : this.value;
  }

  restore(answer) {
    this.value = answer ?? '';
    this.alarm.textContent = '';
  }

  initial() {
    return this.getAttribute('value');
  }

  count() {
    if (!this.counter) return;
    const most = this.getAttribute('max-length');
    this.counter.textContent = `${this.field.value.length}${most ? ` / ${most}` : ''}`;
  }

  problem() {
    if (this.value === '') return this.required ? this.sentence('Please fill out this field.') : '';
    const pattern = this.getAttribute('allowed-pattern');
    if (pattern && this.isRefused(pattern)) return this.sentence('This text does not have the form that is asked for.');
    const {field} = this;
    const least = Number(this.getAttribute('min-length') ?? 0);
    if (field.value.length < least) return this.sentence(`Please write at least ${least} characters.`);
    return field.validity.valid ? '' : this.sentence(field.validationMessage);
  }

  /** As the pattern of an input of HTML: it must match the whole text. One that cannot be read refuses nothing. */
  isRefused(pattern) {
    try {
      return !new RegExp(`^(?:${pattern})+$`, 'u').test(this.value);
    } catch {
      console.error(`allowed-pattern: ${pattern} is not a regular expression`);
      return false;
    }
  }

  sentence(usual) {
    return this.getAttribute('error-message') || usual;
  }

  validate() {
    if (this.field) this.blame(this.problem(), this.field);
  }

  complain() {
    this.alarm.textContent = this.internals.validationMessage;
    this.field.focus();
  }
}

define('crowd-input', Field);
define('crowd-text-area', class extends Field {
  build() {
    super.build();
    if (!this.has('char-counter')) return;
    this.counter = make('div', {class: 'counter', 'aria-hidden': 'true'});
    this.shadowRoot.append(this.counter);
    this.count();
  }

  makeField() {
    const field = make('textarea', {rows: this.getAttribute('rows') || 2});
    const most = Number(this.getAttribute('max-rows'));
    if (most) field.style.maxHeight = `calc(${most} * 1.45em + 18px)`;
    return field;
  }
});

const TICK_LOOK = `
:host { display: inline-block; margin: 4px 14px 4px 0; }
label { display: inline-flex; gap: 8px; align-items: center; min-height: 44px; cursor: pointer; }
input { width: 20px; height: 20px; margin: 0; flex: none; }
input[role=switch] { appearance: none; width: 40px; height: 24px; border-radius: 12px; position: relative;
  background: var(--line); }
input[role=switch]::after { content: ''; position: absolute; inset: 3px auto 3px 3px; width: 18px; border-radius: 9px;
  background: #fff; }
input[role=switch]:checked { background: var(--accent); }
input[role=switch][aria-invalid=true] { background: var(--bad); }
input[role=switch]:checked::after { left: 19px; }
`;

class Tick extends Control {
  static delegates = true;
  static observedAttributes = ['checked', 'disabled', 'value'];
  static look = TICK_LOOK;
  kind = 'checkbox';
  role = null;

  build() {
    this.field = make('input', {type: this.kind, role: this.role, checked: this.has('checked'),
      disabled: this.disabled, onchange: (event) => {
        event.stopPropagation();
        this.clearPeers();
        this.drawValidity();
        this.changed();
      }});
    this.shadowRoot.append(make('label', {}, this.field, make('span', {}, make('slot'))));
    afterParsing(() => {
      if (!this.textContent.trim()) this.field.setAttribute('aria-label', this.calledByLabels() || this.value);
    });
    this.drawValidity();
    this.validate();
  }

  /** Only one button of a group is on. */
  clearPeers() {
    if (!this.checked) return;
    for (const peer of this.closest('crowd-radio-group')?.querySelectorAll('crowd-radio-button') ?? []) {
      if (peer !== this) peer.checked = false;
    }
  }

  attributeChangedCallback(name) {
    if (!this.field) return;
    if (name === 'checked') this.field.checked = this.has('checked');
    this.field.disabled = this.disabled;
    this.validate();
  }

  get checked() {
    return this.field ? this.field.checked : this.has('checked');
  }

  set checked(value) {
    if (this.field) {
      this.field.checked = Boolean(value);
      this.drawValidity();
    } else {
      this.toggleAttribute('checked', Boolean(value));
    }
    this.validate();
  }

  get value() {
    return this.getAttribute('value') ?? 'on';
  }

  set value(value) {
    this.setAttribute('value', value);
  }

  get _submittableValue() {
    return {[this.value]: this.checked};
  }

  restore(answer) {
    this.checked = answer?.[this.value] ?? false;
  }

  initial() {
    return {[this.value]: this.has('checked')};
  }

  /** Overridden where being off may be wrong. */
  drawValidity() {}

  validate() {
    if (!this.field) return;
    const isMissing = this.kind === 'checkbox' && this.required && !this.checked;
    this.blame(isMissing ? 'Please check this box.' : '', this.field);
  }

  complain() {
    this.field.focus();
    this.reportValidity();
  }
}

define('crowd-checkbox', Tick);
define('crowd-radio-button', class extends Tick {
  kind = 'radio';
});
define('crowd-toggle-button', class extends Tick {
  role = 'switch';

  /** A toggle that is marked invalid looks so for as long as it is off. */
  drawValidity() {
    const isInvalid = this.has('invalid') && !this.checked;
    this.field.setAttribute('aria-invalid', String(isInvalid));
  }
});
define('crowd-radio-group', class extends CrowdElement {
  build() {
    super.build();
    this.setAttribute('role', 'radiogroup');
    this.addEventListener('keydown', (event) => this.walk(event));
  }

  /** Arrow keys go from button to button, as they do among radio buttons of HTML. */
  walk(event) {
    const step = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}[event.key];
    const buttons = [...this.querySelectorAll('crowd-radio-button')].filter((button) => !button.disabled);
    const here = buttons.indexOf(event.target.closest('crowd-radio-button'));
    if (!step || here < 0) return;
    event.preventDefault();
    const next = buttons[(here + step + buttons.length) % buttons.length];
    next.field.focus();
    next.field.click();
  }
});
