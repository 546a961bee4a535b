// crowd-slider: a number between two others, by hand, by arrow keys or typed.

class Slider extends Control {
  static delegates = true;
  static observedAttributes = ['value', 'disabled', 'min', 'max', 'step', 'secondary-progress'];
  static look = `
:host { display: inline-block; min-width: min(240px, 100%); margin: 4px 0; }
.row { display: flex; align-items: center; gap: 10px; min-height: 44px; }
.track { flex: 1; position: relative; }
input { width: 100%; min-width: 120px; min-height: 24px; margin: 0; }
input[type=number] { flex: none; width: 88px; min-width: 0; min-height: 44px; border: 1px solid var(--line);
  border-radius: 6px; padding: 4px 8px; }
output { min-width: 2ch; }
.pin { font-weight: 650; padding: 0 8px; border-radius: 10px; background: var(--accent); color: var(--paper); }
.second { height: 4px; border-radius: 2px; width: 0; background: var(--crowd-slider-secondary-color, var(--line)); }
`;

  build() {
    const range = {min: this.getAttribute('min') ?? 0, max: this.getAttribute('max') ?? 100,
      step: this.getAttribute('step') ?? 1};
    this.field = make('input', {type: 'range', ...range, disabled: this.disabled,
      oninput: (event) => this.follow(event, this.field)});
    this.field.value = this.getAttribute('value') ?? range.min;
    this.second = make('div', {class: 'second'});
    // The value is always there to read; what `pin` asks for is that it stands out.
    this.shown = make('output', {class: this.has('pin') ? 'pin' : null});
    this.shadowRoot.append(make('div', {class: 'row'}, make('div', {class: 'track'}, this.field, this.second),
      this.has('editable') ? this.makeNumber(range) : this.shown), make('slot'));
    this.field.addEventListener('change', (event) => event.stopPropagation());
    afterParsing(() => this.nameField());
    this.show();
  }

  /** A field to type the value into; what it holds is put right when it is left. */
  makeNumber(range) {
    this.number = make('input', {type: 'number', ...range, disabled: this.disabled,
      oninput: (event) => this.follow(event, this.number),
      onchange: (event) => {
        event.stopPropagation();
        this.number.value = this.field.value;
      }});
    return this.number;
  }

  nameField() {
    const name = this.calledByLabels() || this.name || 'Value';
    for (const field of [this.field, this.number].filter(Boolean)) field.setAttribute('aria-label', name);
  }

  follow(event, from) {
    event.stopPropagation();
    if (from.value === '') return;
    this.field.value = from.value;
    this.show(from);
    this.changed();
  }

  show(from) {
    this.shown.textContent = this.field.value;
    if (this.number && from !== this.number) this.number.value = this.field.value;
    const {min, max} = this.field;
    const second = Number(this.getAttribute('secondary-progress') ?? min);
    this.second.style.width = `${Math.min(1, Math.max(0, (second - min) / (max - min))) * 100}%`;
  }

  attributeChangedCallback(name, _before, value) {
    if (!this.field) return;
    for (const field of [this.field, this.number].filter(Boolean)) {
      if (name === 'disabled') field.disabled = this.disabled;
      else if (name !== 'secondary-progress') field[name] = value;
    }
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
    this.field.value = answer ?? this.initial();
    this.show();
  }

  initial() {
    return this.getAttribute('value') ?? this.field.min;
  }
}

define('crowd-slider', Slider);
define('crowd-slider-label', class extends CrowdElement {
  static look = ':host { display: inline-block; color: var(--soft); font-size: 13px; margin-right: 12px; }';
});
