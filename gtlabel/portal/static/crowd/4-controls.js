// The generic controls: what people type, tick, toggle and slide.

const FIELD_LOOK = `
:host { display: block; margin: 8px 0; }
label { display: block; }
label span { display: block; margin: 0 0 4px; }
input, textarea { width: 100%; min-height: 44px; padding: 8px 10px; border: 1px solid var(--line);
  border-radius: 6px; }
.counter { color: var(--soft); font-size: 13px; text-align: right; }
`;

class Field extends Control {
  static delegates = true;
  static observedAttributes = ['value', 'disabled', 'placeholder', 'label'];
  static look = FIELD_LOOK;

  makeField() {
    return make('input', {type: this.getAttribute('type') || 'text'});
  }

  build() {
    const field = this.makeField();
    for (const [ours, theirs] of [['max-length', 'maxlength'], ['min-length', 'minlength'], ['max', 'max'],
      ['min', 'min'], ['step', 'step'], ['placeholder', 'placeholder']]) {
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
    // The field's own event does not leave the shadow; whoever listens was told by `changed`.
    field.addEventListener('change', (event) => event.stopPropagation());
    this.nameField();
    this.shadowRoot.append(make('label', {}, this.caption, field), this.alarm);
    if (this.has('char-counter')) {
      this.counter = make('div', {class: 'counter', 'aria-hidden': 'true'});
      this.shadowRoot.append(this.counter);
      this.count();
    }
    this.validate();
    if (this.has('auto-focus')) afterParsing(() => field.focus());
  }

  /** A field without a label is called what its placeholder or name says. */
  nameField() {
    const name = this.getAttribute('label') ? null : (this.getAttribute('placeholder') || this.name);
    if (name) this.field.setAttribute('aria-label', name);
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
  }

  count() {
    const most = this.getAttribute('max-length');
    if (this.counter) this.counter.textContent = `${this.field.value.length}${most ? ` / ${most}` : ''}`;
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
  makeField() {
    const field = make('textarea', {rows: this.getAttribute('rows') || 2});
    const most = Number(this.getAttribute('max-rows'));
    if (most) field.style.maxHeight = `${most * 1.5}em`;
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
        this.changed();
      }});
    this.shadowRoot.append(make('label', {}, this.field, make('span', {}, make('slot'))));
    afterParsing(() => {
      if (!this.textContent.trim()) this.field.setAttribute('aria-label', this.value);
    });
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
    if (this.field) this.field.checked = Boolean(value);
    else this.toggleAttribute('checked', Boolean(value));
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

  validate() {
    if (!this.field) return;
    const isMissing = this.required && this.kind === 'checkbox' && !this.checked;
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

class Slider extends Control {
  static delegates = true;
  static observedAttributes = ['value', 'disabled', 'min', 'max', 'step'];
  static look = `
:host { display: inline-block; min-width: 240px; margin: 4px 0; }
.row { display: flex; align-items: center; gap: 10px; min-height: 44px; }
input { flex: 1; min-width: 160px; min-height: 24px; }
input[type=number] { flex: none; width: 80px; min-width: 0; min-height: 44px; border: 1px solid var(--line);
  border-radius: 6px; padding: 4px 8px; }
`;

  build() {
    const range = {min: this.getAttribute('min') ?? 0, max: this.getAttribute('max') ?? 100,
      step: this.getAttribute('step') ?? 1, 'aria-label': this.getAttribute('label') || this.name || 'Value'};
    this.field = make('input', {type: 'range', ...range, disabled: this.disabled,
      oninput: (event) => this.follow(event, this.field)});
    this.field.value = this.getAttribute('value') ?? range.min;
    this.shown = this.has('editable')
      ? make('input', {type: 'number', ...range, oninput: (event) => this.follow(event, this.shown)})
      : make('output');
    this.field.addEventListener('change', (event) => event.stopPropagation());
    this.show();
    this.shadowRoot.append(make('div', {class: 'row'}, this.field, this.shown), make('slot'));
  }

  follow(event, from) {
    event.stopPropagation();
    this.field.value = from.value;
    this.show();
    this.changed();
  }

  show() {
    if (this.shown.localName === 'output') this.shown.textContent = this.field.value;
    else this.shown.value = this.field.value;
  }

  attributeChangedCallback(name, _before, value) {
    if (!this.field) return;
    if (name === 'disabled') this.field.disabled = this.disabled;
    else this.field[name] = value;
    this.show();
  }

  get value() {
    return Number(this.field ? this.field.value : (this.getAttribute('value') ?? this.getAttribute('min') ?? 0));
  }

  set value(value) {
    if (this.field) this.restore(value);
    else this.setAttribute('value', value);
  }

  get _submittableValue() {
    return this.value;
  }

  restore(answer) {
    this.field.value = answer ?? this.getAttribute('value') ?? this.field.min;
    this.show();
  }
}

define('crowd-slider', Slider);
define('crowd-slider-label', class extends CrowdElement {
  static look = ':host { display: inline-block; color: var(--soft); font-size: 13px; margin-right: 12px; }';
});
