// crowd-form: gathers the answer of a page and hands it to the shell around it.

const CONTROLS = ['input', 'select', 'textarea'];
const SILENT_TYPES = ['button', 'file', 'image', 'reset', 'submit'];
const FULL_PAGE = 'crowd-image-classifier, crowd-image-classifier-multi-select, crowd-classifier, '
  + 'crowd-classifier-multi-select, crowd-bounding-box, crowd-polygon, crowd-keypoint';

/** The crowd-form around a node, also out of shadows; a page has one, which serves those that stand beside it. */
function formOf(node) {
  for (let here = node; here; here = here.parentNode ?? here.host) {
    if (here.localName === 'crowd-form') return here;
  }
  return document.querySelector('crowd-form');
}

class CrowdForm extends HTMLElement {
  connectedCallback() {
    if (this.isBuilt) return;
    this.isBuilt = true;
    this.style.display = 'block';
    afterParsing(() => this.wrap());
  }

  get form() {
    return this.inner;
  }

  get elements() {
    return this.inner?.elements;
  }

  /** Moves the children into a form of HTML, where templates' scripts look for them. */
  wrap() {
    this.inner = make('form', {action: 'about:blank', novalidate: true});
    this.inner.append(...this.childNodes);
    this.append(this.inner);
    if (!this.inner.querySelector(FULL_PAGE)) this.inner.style.padding = '16px';
    if (!this.inner.querySelector('crowd-button[form-action="submit"]')) {
      const submit = make('crowd-button', {'form-action': 'submit', variant: 'primary'}, 'Submit');
      const footer = make('div', {class: 'gtlabel-footer'}, submit);
      Object.assign(footer.style, {position: 'sticky', bottom: '0', padding: '8px 14px', textAlign: 'right',
        background: 'light-dark(#fff, #16191f)', borderTop: '1px solid light-dark(#879596, #6b7780)'});
      this.inner.append(footer);
    }
    // Enter in a field and nested forms submit by themselves; there is one way, and scripts can veto it once.
    this.addEventListener('submit', (event) => {
      if (event.isOurs) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      this.requestSubmit();
    }, true);
  }

  /** Submits unless a control objects or a listener of `submit` prevents it; says whether it did. */
  requestSubmit() {
    const refused = this.controls().find((control) => !isDisabled(control) && !control.checkValidity());
    if (refused) {
      if (refused.complain) refused.complain();
      else refused.reportValidity();
      return false;
    }
    const event = new SubmitEvent('submit', {bubbles: true, cancelable: true});
    event.isOurs = true;
    if (!this.inner.dispatchEvent(event)) return false;
    this._submitHelperForm();
    return true;
  }

  submit() {
    this._submitHelperForm();
  }

  reset() {
    this.inner.reset();
  }

  /** What takes part in the answer, in the order of the page. */
  controls() {
    const own = [...definitions].filter(([, type]) => type.formAssociated).map(([name]) => name);
    return [...this.inner.querySelectorAll([...CONTROLS, ...own].join(','))];
  }

  /** The answer: one object, by the names of the controls. */
  collect() {
    const answer = {};
    for (const control of this.controls()) {
      const name = control.getAttribute('name');
      const value = name && !isDisabled(control) ? valueOf(control) : undefined;
      if (value === undefined) continue;
      const known = Object.hasOwn(answer, name) ? answer[name] : undefined;
      const merged = isObject(known) && isObject(value) ? {...known, ...value} : value;
      Object.defineProperty(answer, name, {value: merged, enumerable: true, configurable: true, writable: true});
    }
    return sortKeys(answer);
  }

  /** Shows an answer that was given before, so that it can be changed. */
  restore(answer) {
    this.isSent = false;
    for (const control of this.controls()) {
      const value = answer?.[control.getAttribute('name')];
      if (control.restore) control.restore(value);
      else if (control.type === 'checkbox' || control.type === 'radio') control.checked = Boolean(value?.[control.value]);
      else if (control.multiple) for (const option of control.options) option.selected = value?.includes(option.value);
      else if (!SILENT_TYPES.includes(control.type)) control.value = value ?? '';
    }
  }

  _serializeForm() {
    return {taskAnswers: JSON.stringify([this.collect()])};
  }

  _submitHelperForm() {
    if (this.isSent) return;
    this.isSent = true;
    const answer = this.collect();
    if (!tellShell('submit', {answer})) showAnswer(this, answer);
  }
}

function isObject(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

/** A disabled control, or one in a disabled set of fields, has no part in the answer, as in forms of HTML. */
function isDisabled(control) {
  return control.disabled || control.matches(':disabled');
}

/** What a control gives; undefined when it has nothing to say. */
function valueOf(control) {
  if ('_submittableValue' in control) return control._submittableValue;
  if (control.type === 'checkbox' || control.type === 'radio') return {[control.value]: control.checked};
  if (SILENT_TYPES.includes(control.type)) return undefined;
  if (control.localName === 'select' && control.multiple) {
    const chosen = [...control.selectedOptions].map((option) => option.value);
    return chosen.length ? chosen : undefined;
  }
  return control.value === '' ? undefined : control.value;
}

/** Outside of a portal nothing is sent: the answer is shown, as AWS's elements do on a page of one's own. */
function showAnswer(form, answer) {
  form.querySelector('.gtlabel-answer')?.remove();
  const text = make('pre', {class: 'gtlabel-answer', role: 'status'}, JSON.stringify(answer, null, 2));
  Object.assign(text.style, {padding: '14px', whiteSpace: 'pre-wrap', overflowWrap: 'anywhere'});
  form.append(text);
  form.isSent = false;
}

definitions.set('crowd-form', CrowdForm);
