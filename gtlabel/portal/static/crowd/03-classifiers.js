// crowd-image-classifier, crowd-classifier and their multi-select forms.

const DIGITS = '1234567890';
// Letters that do something else: n is the exclusion, f fits, s skips, u undoes, g opens the grid.
const LETTERS = 'abcdehijklmopqrtvwxyz';
const FILTER_FROM = 20;
const DWELL_MILLISECONDS = 150;

const CLASSIFIER_LOOK = `
${VIEWER_LOOK}
:host { display: block; }
.awsui-app-layout { display: flex; height: calc(100vh - var(--crowd-footer, 68px)); min-height: 340px;
  background: var(--paper); }
.awsui-app-layout__navigation { width: 250px; flex: none; overflow: auto; padding: 14px; background: var(--shade);
  border-right: 1px solid var(--line); }
.awsui-app-layout__navigation:not(.filled) { display: none; }
.annotation-area { flex: 1; display: flex; min-width: 0; }
.stage { flex: 1; display: flex; flex-direction: column; min-width: 0; }
.stage .header { font-size: 19px; line-height: 1.3; margin: 12px 14px; font-weight: 650; overflow-wrap: anywhere; }
.stage .header:empty { display: none; }
.awsui-app-layout__navigation .summary { margin-top: 10px; overflow-wrap: anywhere; }
.target { padding: 0 14px 14px; overflow: auto; flex: 1; min-height: 44px; }
.category-picker-wrapper { width: 300px; flex: none; padding: 14px; overflow: auto;
  border-left: 1px solid var(--line); }
fieldset { border: 0; margin: 0; padding: 0; min-width: 0; }
legend { font-weight: 650; padding: 0 0 8px; }
.option { display: flex; align-items: center; gap: 10px; min-height: 48px; padding: 8px 10px; margin: 0 0 8px;
  border: 1px solid var(--line); border-radius: 8px; cursor: pointer; }
.option:hover { background: var(--shade); }
.option:has(input:checked) { border-color: var(--accent); background: var(--tint);
  box-shadow: inset 0 0 0 1px var(--accent); }
.option:has(input:focus-visible) { outline: 3px solid var(--accent); outline-offset: 2px; }
.option:has(input:disabled) { opacity: .55; }
.option[hidden] { display: none; }
.option input { width: 20px; height: 20px; flex: none; margin: 0; }
.option input:focus-visible { outline: none; }
.option .text { min-width: 0; overflow-wrap: anywhere; unicode-bidi: isolate; }
kbd { margin-left: auto; border: 1px solid var(--line); border-radius: 4px; padding: 0 7px; color: var(--soft);
  background: var(--paper); font: 13px ui-monospace, monospace; }
:host(.quiet) kbd { display: none; }
.filter { width: 100%; min-height: 44px; padding: 6px 10px; margin: 0 0 8px; border: 1px solid var(--line);
  border-radius: 6px; }
.comment { width: 100%; min-height: 96px; padding: 8px; border: 1px solid var(--line); border-radius: 6px; }
.said { color: var(--soft); margin: 0; overflow-wrap: anywhere; white-space: pre-wrap; }
.summary-toggle { display: none; }
@media (max-width: 760px) {
  .awsui-app-layout, .annotation-area { flex-direction: column; }
  .awsui-app-layout { height: auto; min-height: calc(100vh - var(--crowd-footer, 68px)); }
  .awsui-app-layout__navigation, .category-picker-wrapper { width: auto; border: 0; }
  .annotation-area, .stage { flex: none; }
  .awsui-app-layout__navigation > button { margin-right: 8px; }
  .awsui-app-layout__navigation { padding: 6px 14px; border-bottom: 1px solid var(--line); overflow: visible; }
  .summary-toggle { display: inline-flex; }
  .awsui-app-layout__navigation .summary:not(.open) { display: none; }
  .viewport { flex: none; height: 36vh; }
  kbd { display: none; }
}
`;

class Classifier extends Control {
  static observedAttributes = ['categories', 'header', 'disabled'];
  static look = CLASSIFIER_LOOK;
  isMulti = false;
  isImage = false;
  isRaw = false;

  get categories() {
    return this.names ?? [];
  }

  set categories(value) {
    const given = readValue(value) ?? [];
    this.names = (Array.isArray(given) ? given : [given]).map((entry) => String(entry?.name ?? entry));
    if (this.isBuilt) this.drawOptions();
    // A script may name the classes when the page is there already.
    if (this.isBuilt && this.isRead && !this.isTouched) this.restore(this.initial());
  }

  /** The chosen class, which listeners of `change` expect as a plain string; a list in multi-select. */
  get value() {
    return this.isMulti ? this.picked() : (this.picked()[0] ?? null);
  }

  set value(value) {
    this.restore(value);
  }

  get _submittableValue() {
    const picked = this.picked();
    const answer = this.isMulti ? {labels: picked} : {label: picked[0]};
    const comment = this.comment?.value.trim();
    return comment ? {...answer, workerComment: comment} : answer;
  }

  /** Shows an earlier answer, or nothing. */
  restore(answer) {
    const wanted = new Set([answer?.labels ?? answer?.label ?? answer ?? []].flat());
    for (const input of this.inputs()) input.checked = wanted.has(input.value);
    if (this.exclusion) {
      this.exclusion.checked = Boolean(answer?.labels) && wanted.size === 0;
      this.exclude();
    }
    if (this.comment) {
      this.comment.value = answer?.workerComment ?? '';
      this.said.textContent = this.comment.value;
    }
    this.alarm.textContent = '';
    this.validate();
  }

  /** What is chosen before anybody chose; AWS's elements know no such thing. */
  initial() {
    const given = this.getAttribute('initial-value');
    return given === null ? undefined : relaxedOrText(given);
  }

  attributeChangedCallback(name, _before, value) {
    if (name === 'categories') this.readCategories(value);
    else if (!this.isBuilt) return;
    else if (name === 'header') this.heading.textContent = value ?? '';
    else if (name === 'disabled' || name === 'exclusion-category') this.drawOptions();
    else this.loadPicture();
  }

  loadPicture() {
    this.viewer.load(this.getAttribute('src'));
  }

  readCategories(text) {
    try {
      this.categories = text;
    } catch (error) {
      this.categories = [];
      console.error(`categories: ${error.message}`);
    }
  }

  build() {
    slotRegions(this);
    const header = this.getAttribute('header') ?? '';
    this.heading = make('div', {class: 'header', id: 'header', role: 'heading', 'aria-level': '2'}, header);
    this.alarm = make('div', {class: 'error', role: 'alert', id: 'error'});
    this.options = make('fieldset', {'aria-describedby': 'header error'},
      make('legend', {}, this.isMulti ? 'Select all that apply' : 'Select an option'));
    this.picker = make('div', {class: 'category-picker-wrapper'}, this.options, this.alarm);
    const stage = make('section', {class: 'stage', 'aria-labelledby': 'header'}, this.heading);
    if (this.isImage) {
      this.viewer = new Viewer(header || 'The picture to classify',
        {isRaw: this.isRaw, changed: () => this.validate(), steer: (event) => this.steer(event)});
      stage.append(this.viewer.element, this.viewer.bar);
      this.loadPicture();
    } else {
      stage.append(make('div', {class: 'target', tabindex: '0', role: 'group', 'aria-label': 'What to classify'},
        make('slot', {name: 'classification-target'}), make('slot')));
    }
    this.navigation = make('nav', {class: 'awsui-app-layout__navigation', 'aria-label': 'Instructions'});
    this.shadowRoot.append(make('div', {class: 'awsui-app-layout'}, this.navigation,
      make('main', {class: 'annotation-area'}, stage, this.picker)));
    this.drawOptions();
    afterParsing(() => this.readRegions());
  }

  readRegions() {
    const full = this.querySelector(':scope > full-instructions');
    const short = this.querySelector(':scope > short-instructions');
    this.navigation.classList.toggle('filled', Boolean(full || short));
    if (full) {
      const title = full.getAttribute('header') || 'Instructions';
      this.instructions = dialogOf(title, make('slot', {name: 'full-instructions'}));
      this.navigation.append(make('button',
        {type: 'button', onclick: () => this.instructions.showModal()}, 'View full instructions'));
      this.shadowRoot.append(this.instructions);
    }
    if (short) this.addSummary(short.getAttribute('header'));
    const comment = this.querySelector(':scope > worker-comment');
    if (comment) this.addComment(comment);
    this.isRead = true;
    if (!this.isTouched) this.restore(this.initial());
  }

  /** The short instructions stand beside the task; a phone, which has no room, shows them on demand. */
  addSummary(header) {
    const heading = header ? make('div', {role: 'heading', 'aria-level': '2'}, header) : null;
    const summary = make('div', {class: 'summary', id: 'summary'}, heading, make('slot', {name: 'short-instructions'}));
    const toggle = make('button', {type: 'button', class: 'summary-toggle', 'aria-expanded': 'false',
      'aria-controls': 'summary',
      onclick: () => toggle.setAttribute('aria-expanded', String(summary.classList.toggle('open')))}, 'In short');
    this.navigation.append(toggle, summary);
  }

  addComment(region) {
    const title = region.getAttribute('header') || 'Add a comment';
    this.comment = make('textarea', {class: 'comment', 'aria-label': title,
      placeholder: region.getAttribute('placeholder'), oninput: () => {
        this.said.textContent = this.comment.value;
      }});
    this.said = make('p', {class: 'said'});
    const dialog = dialogOf(title, make('slot', {name: 'worker-comment'}), this.comment);
    const text = region.getAttribute('link-text') || 'Add a comment';
    this.picker.append(make('button', {type: 'button', class: 'link', onclick: () => dialog.showModal()}, text),
      this.said, dialog);
  }

  drawOptions() {
    const chosen = new Set(this.picked());
    while (this.options.children.length > 1) this.options.lastChild.remove();
    if (this.categories.length > FILTER_FROM) this.options.append(this.filterField());
    this.keys = new Map();
    this.categories.forEach((name, index) => {
      const key = DIGITS[index] ?? this.letterFor(name);
      const input = make('input', {type: this.isMulti ? 'checkbox' : 'radio', class: 'category', name: 'category',
        value: name, disabled: this.disabled, onchange: (event) => this.choose(event)});
      input.checked = chosen.has(name);
      if (key) this.keys.set(key, input);
      this.options.append(optionOf(input, name, key));
    });
    this.addExclusion();
    this.validate();
  }

  /** The first letter of a class that no other class has taken. */
  letterFor(name) {
    const letters = [...name.toLowerCase()].filter((letter) => LETTERS.includes(letter));
    return letters.find((letter) => !this.keys.has(letter));
  }

  filterField() {
    return make('input', {type: 'search', class: 'filter', placeholder: 'Filter', 'aria-label': 'Filter options',
      oninput: (event) => {
        event.stopPropagation();
        const wanted = event.target.value.toLowerCase();
        for (const input of this.inputs()) {
          input.closest('.option').hidden = !input.value.toLowerCase().includes(wanted);
        }
      }});
  }

  addExclusion() {
    this.exclusion = null;
    const given = this.isMulti ? this.getAttribute('exclusion-category') : null;
    if (given === null) return;
    const read = relaxedOrText(given);
    this.exclusion = make('input', {type: 'checkbox', class: 'exclusion', disabled: this.disabled,
      onchange: (event) => {
        event.stopPropagation();
        this.isTouched = true;
        this.exclude();
        this.alarm.textContent = '';
        this.changed();
      }});
    this.keys.set('n', this.exclusion);
    this.options.append(optionOf(this.exclusion, String(read?.text ?? read), 'n'));
  }

  /** None of the classes can be chosen while the exclusion is. */
  exclude() {
    for (const input of this.inputs()) {
      input.disabled = this.disabled || this.exclusion.checked;
      if (this.exclusion.checked) input.checked = false;
    }
  }

  choose(event) {
    event.stopPropagation();
    this.isTouched = true;
    this.alarm.textContent = '';
    this.changed();
  }

  inputs() {
    return [...this.shadowRoot.querySelectorAll('input.category')];
  }

  picked() {
    return this.inputs().filter((input) => input.checked).map((input) => input.value);
  }

  /** Uses a key while the picture has the focus; false leaves it to others. */
  steer() {
    return false;
  }

  /** Uses a key; false if it means nothing here. */
  key(key) {
    const input = this.keys.get(key);
    if (!input || input.disabled) return this.viewer?.key(key) ?? false;
    if (performance.now() - (page.shownAt ?? 0) < DWELL_MILLISECONDS) return true;
    input.focus();
    input.click();
    // In fast mode a key is the whole answer; the shell shows for a moment what it was.
    if (settings.fast && !this.isMulti) formOf(this)?.requestSubmit();
    return true;
  }

  validate() {
    const isAnswered = this.picked().length > 0 || Boolean(this.exclusion?.checked);
    const sentence = this.isMulti ? 'Choose at least one option.' : 'Choose an option.';
    this.blame(this.notSeen() || (isAnswered ? '' : sentence), this.options);
  }

  /** Nobody says anything about a picture that they have not seen. */
  notSeen() {
    const state = this.isImage ? this.viewer?.state : 'loaded';
    if (state === 'loaded') return '';
    return state === 'failed' ? 'The picture does not load; decline the task.' : 'The picture has not come yet.';
  }

  complain() {
    this.alarm.textContent = this.internals.validationMessage;
    this.inputs()[0]?.focus();
  }

  focusFirst() {
    const checked = this.inputs().find((input) => input.checked);
    (checked ?? this.inputs()[0])?.focus({preventScroll: true});
  }
}

/** An attribute that may also be plain text. */
function relaxedOrText(text) {
  try {
    return readValue(text);
  } catch {
    return text;
  }
}

function optionOf(input, text, key) {
  return make('label', {class: 'option'}, input, make('span', {class: 'text'}, text),
    key ? make('kbd', {'aria-hidden': 'true'}, key) : null);
}

define('crowd-image-classifier', class extends Classifier {
  static observedAttributes = [...Classifier.observedAttributes, 'src', 'overlay'];
  isImage = true;

  loadPicture() {
    this.viewer.load(this.getAttribute('src'), this.getAttribute('overlay'));
  }
});
define('crowd-image-classifier-multi-select', class extends Classifier {
  static observedAttributes = [...Classifier.observedAttributes, 'src', 'exclusion-category'];
  isImage = true;
  isMulti = true;
});
define('crowd-classifier', class extends Classifier {});
define('crowd-classifier-multi-select', class extends Classifier {
  static observedAttributes = [...Classifier.observedAttributes, 'exclusion-category'];
  isMulti = true;
});
