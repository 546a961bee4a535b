// What a page is furnished with, and what has no part in the answer: buttons, cards, alerts, tabs, dialogs.

// Some names of the iron-icons set, by signs that every system font has.
const ICONS = {
  add: '+', 'add-circle': '⊕', 'arrow-back': '←', 'arrow-downward': '↓', 'arrow-forward': '→', 'arrow-upward': '↑',
  block: '⊘', check: '✓', clear: '×', close: '×', create: '✎', delete: '✕', done: '✓', error: '!', favorite: '♥',
  flag: '⚑', help: '?', 'help-outline': '?', home: '⌂', info: 'i', 'info-outline': 'i', mail: '✉', menu: '≡',
  'more-horiz': '…', 'more-vert': '⋮', refresh: '↻', remove: '−', 'report-problem': '⚠', search: '⌕', send: '➤',
  settings: '⚙', star: '★', 'thumb-down': '👎', 'thumb-up': '👍', undo: '↶', visibility: '👁', warning: '⚠',
};

/** An icon by its name or address; null if neither says anything. */
function iconOf(icon) {
  if (/^(https?:|data:image\/|\/)/i.test(icon ?? '')) return make('img', {class: 'icon', src: icon, alt: ''});
  const sign = ICONS[(icon ?? '').split(':').at(-1)];
  return sign ? make('span', {class: 'icon', 'aria-hidden': 'true'}, sign) : null;
}

/** What all buttons are: pressed unless disabled. */
class PlainButton extends CrowdElement {
  static delegates = true;
  static observedAttributes = ['disabled'];
  static look = `:host { display: inline-block; margin: 2px; max-width: 100%; }
.icon { min-width: 20px; max-width: 20px; text-align: center; }`;

  get disabled() {
    return this.has('disabled');
  }

  set disabled(value) {
    this.toggleAttribute('disabled', Boolean(value));
  }

  get isStuck() {
    return this.disabled;
  }

  makeInner() {
    return make('button', {type: 'button'});
  }

  build() {
    this.inner = this.makeInner();
    this.fill();
    this.shadowRoot.append(this.inner);
    this.attributeChangedCallback();
    this.addEventListener('click', (event) => {
      if (this.isStuck) {
        event.stopImmediatePropagation();
        event.preventDefault();
      } else {
        this.press();
      }
    });
  }

  attributeChangedCallback() {
    if (this.inner) this.inner.disabled = this.disabled;
  }

  press() {}
}

class Button extends PlainButton {
  static observedAttributes = ['disabled', 'loading'];
  static look = `${PlainButton.look}
.only .text { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.wait { display: none; width: 16px; height: 16px; border: 2px solid; border-top-color: transparent; border-radius: 50%; }
[aria-busy=true] .wait { display: block; }
a.link { border-color: transparent; color: var(--accent); text-decoration: underline; background: none; }
a.primary { background: var(--call); border-color: var(--call); color: var(--on-call); font-weight: 600; }
[aria-disabled=true] { opacity: .5; cursor: default; }
@media (prefers-reduced-motion: no-preference) {
  .wait { animation: turn 1s linear infinite; }
  @keyframes turn { to { transform: rotate(1turn); } }
}`;

  get isStuck() {
    return this.disabled || this.has('loading');
  }

  makeInner() {
    const href = this.getAttribute('href');
    if (!isAddress(href)) return super.makeInner();
    return make('a', {class: 'button', href, target: this.getAttribute('target'), rel: 'noopener noreferrer'});
  }

  fill() {
    const variant = {primary: 'primary', link: 'link', icon: 'only'}[this.getAttribute('variant')];
    if (variant) this.inner.classList.add(variant);
    const icon = iconOf(this.getAttribute('icon-url')) ?? iconOf(this.getAttribute('icon'));
    const parts = [icon, make('span', {class: 'text'}, make('slot'))];
    if (this.getAttribute('icon-align') === 'right') parts.reverse();
    this.inner.append(make('span', {class: 'wait'}), ...parts.filter(Boolean));
  }

  attributeChangedCallback() {
    if (!this.inner) return;
    // Who waits keeps the focus: a button that is loading is no disabled one.
    const isBusy = this.has('loading');
    this.inner.disabled = this.disabled && !isBusy;
    this.inner.setAttribute('aria-busy', String(isBusy));
    this.inner.setAttribute('aria-disabled', String(this.isStuck));
  }

  press() {
    const action = this.getAttribute('form-action');
    if (action === 'submit') formOf(this)?.requestSubmit();
    if (action === 'reset') formOf(this)?.reset();
  }
}

/** A sign to click on; `title` says what for. */
class IconButton extends PlainButton {
  fill() {
    const icon = this.getAttribute('icon');
    this.inner.setAttribute('aria-label', this.getAttribute('title') || this.sign || icon || 'Button');
    this.inner.append(iconOf(icon) ?? (this.sign || '…'));
  }

  get sign() {
    return '';
  }
}

define('crowd-button', Button);
define('crowd-icon-button', IconButton);
define('crowd-fab', class extends IconButton {
  static look = `${PlainButton.look} button { border-radius: 28px; min-width: 56px; min-height: 56px; font-size: 18px;
  background: var(--accent); border-color: var(--accent); color: var(--paper); }
button:hover:enabled { background: var(--accent); filter: brightness(1.1); }`;

  get sign() {
    return this.getAttribute('label') ?? '';
  }
});

define('crowd-badge', class extends CrowdElement {
  static look = `:host { display: inline-block; background: var(--accent); color: var(--paper); border-radius: 11px;
  padding: 0 8px; font-size: 13px; line-height: 22px; text-align: center; }
:host(.pinned) { position: absolute; z-index: 1; } img.icon { width: 16px; vertical-align: middle; }`;

  build() {
    const icon = iconOf(this.getAttribute('icon'));
    this.shadowRoot.append(icon ?? this.getAttribute('label') ?? '', make('slot'));
    afterParsing(() => this.pin());
  }

  /** Stands on the upper right corner of the element that it belongs to, wherever that goes. */
  pin() {
    const target = document.getElementById(this.getAttribute('for') ?? '');
    if (!target) return;
    this.classList.add('pinned');
    const place = () => {
      const corner = target.getBoundingClientRect();
      const from = (this.offsetParent ?? document.body).getBoundingClientRect();
      this.style.left = `${corner.right - from.left - this.offsetWidth / 2}px`;
      this.style.top = `${corner.top - from.top - this.offsetHeight / 2}px`;
    };
    for (const element of [target, document.body]) new ResizeObserver(place).observe(element);
  }
});

define('crowd-card', class extends CrowdElement {
  static look = `:host { display: inline-block; vertical-align: top; border: 1px solid var(--line); border-radius: 8px;
  overflow: hidden; margin: 6px; background: var(--paper); max-width: 100%; }
img { display: block; max-width: 100%; } .heading { font-weight: 650; font-size: 17px; padding: 10px 14px 0; }
.body { padding: 10px 14px; }`;

  build() {
    const picture = this.getAttribute('image');
    const heading = this.getAttribute('heading');
    this.shadowRoot.append(...[
      isAddress(picture) ? make('img', {src: picture, alt: heading || ''}) : null,
      heading ? make('div', {class: 'heading', role: 'heading', 'aria-level': '3'}, heading) : null,
      make('div', {class: 'body'}, make('slot')),
    ].filter(Boolean));
  }
});

const ALERTS = {info: ['ℹ', '#0061a8'], success: ['✓', '#1d7324'], error: ['✕', '#a8201a'], warning: ['⚠', '#8a5a00']};

define('crowd-alert', class extends CrowdElement {
  static look = `:host { display: block; margin: 8px 0; }
.alert { display: flex; gap: 10px; align-items: center; padding: 8px 14px; background: var(--shade);
  border-left: 5px solid var(--tone); border-radius: 4px; } .text { flex: 1; }`;

  build() {
    const [sign, tone] = ALERTS[this.getAttribute('type')] ?? ALERTS.info;
    const role = this.getAttribute('type') === 'error' ? 'alert' : 'status';
    const alert = make('div', {class: 'alert', role}, make('span', {'aria-hidden': 'true'}, sign),
      make('div', {class: 'text'}, make('slot')));
    alert.style.setProperty('--tone', tone);
    if (this.has('dismissible')) {
      alert.append(make('button', {type: 'button', 'aria-label': 'Dismiss', onclick: () => this.remove()}, '×'));
    }
    this.shadowRoot.append(alert);
  }
});

class Modal extends CrowdElement {
  static look = ':host { display: inline-block; margin: 4px 0; }';
  usual = 'Click to open modal';

  build() {
    const text = this.getAttribute('link-text') || this.usual;
    const variant = this.getAttribute('link-type') === 'button' ? null : 'link';
    this.dialog = dialogOf('', ...this.content());
    this.dialog.setAttribute('aria-label', text);
    this.shadowRoot.append(
      make('button', {type: 'button', class: variant, onclick: () => this.open()}, text), this.dialog);
  }

  content() {
    return [make('slot')];
  }

  open() {
    this.dialog.showModal();
  }

  close() {
    this.dialog.close();
  }
}

define('crowd-modal', Modal);
define('crowd-instructions', class extends Modal {
  static look = `${Modal.look} ${tabLook()}`;
  usual = 'Click for instructions';

  build() {
    slotRegions(this);
    super.build();
    afterParsing(() => this.drawTabs());
  }

  content() {
    this.sheets = make('div');
    return [this.sheets];
  }

  /** The summary and details on one sheet each, the examples together on a third. */
  drawTabs() {
    const present = (...names) => names.filter((name) => this.querySelector(`:scope > ${name}`));
    const sheets = [['Summary', present('short-summary')], ['Detailed instructions', present('detailed-instructions')],
      ['Examples', present('positive-example', 'negative-example')]].filter(([, names]) => names.length);
    const panels = sheets.map(([title, names]) => {
      const parts = names.flatMap((name) => {
        const examples = {'positive-example': 'Good example', 'negative-example': 'Bad example'};
        const heading = examples[name] ? make('h3', {}, examples[name]) : null;
        return [heading, make('slot', {name})].filter(Boolean);
      });
      return {title, panel: make('div', {}, ...parts)};
    });
    this.sheets.append(tabList(panels), ...panels.map(({panel}) => panel));
  }
});

/** Tabs that arrow keys walk along. https://www.w3.org/WAI/ARIA/apg/patterns/tabs/ */
function tabList(panels) {
  const list = make('div', {role: 'tablist', class: 'tabs'});
  const show = (index) => {
    [...list.children].forEach((tab, place) => {
      tab.setAttribute('aria-selected', String(place === index));
      tab.tabIndex = place === index ? 0 : -1;
      panels[place].panel.hidden = place !== index;
    });
  };
  panels.forEach(({title, panel}, index) => {
    panel.setAttribute('role', 'tabpanel');
    panel.setAttribute('aria-label', title);
    list.append(make('button', {type: 'button', role: 'tab', onclick: () => show(index)}, title));
  });
  list.addEventListener('keydown', (event) => {
    const tabs = [...list.children];
    const here = tabs.indexOf(event.target);
    const to = {ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: -1}[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const next = (to + tabs.length) % tabs.length;
    show(next);
    tabs[next].focus();
  });
  show(0);
  return list;
}

function tabLook() {
  return `.tabs { display: flex; flex-wrap: wrap; gap: 4px; border-bottom: 1px solid var(--line); margin-bottom: 12px; }
.tabs button { border: 0; border-radius: 6px 6px 0 0; background: none; }
.tabs button[aria-selected=true] { box-shadow: inset 0 -3px 0 var(--accent); font-weight: 650; }`;
}

define('crowd-tabs', class extends CrowdElement {
  static look = `:host { display: block; } ${tabLook()}`;

  build() {
    super.build();
    afterParsing(() => {
      const tabs = [...this.querySelectorAll(':scope > crowd-tab')];
      if (!tabs.length) return;
      const panels = tabs.map((panel) => ({title: panel.getAttribute('header') ?? '', panel}));
      this.shadowRoot.prepend(tabList(panels));
      // The style goes first, or the bar would be drawn without it.
      this.shadowRoot.prepend(this.shadowRoot.querySelector('style'));
    });
  }
});
define('crowd-tab', class extends CrowdElement {
  static look = ':host { display: block; }';
});

define('crowd-toast', class extends CrowdElement {
  static observedAttributes = ['opened', 'text'];
  static look = `:host { display: none; position: fixed; bottom: 84px; left: 16px; padding: 12px 18px; z-index: 10;
  border-radius: 6px; background: var(--ink); color: var(--paper); max-width: calc(100% - 32px); }
:host([opened]:not([opened=false])) { display: block; }`;

  build() {
    this.setAttribute('role', 'status');
    this.text = make('span', {}, this.getAttribute('text') ?? '');
    this.shadowRoot.append(this.text, make('slot'));
    this.attributeChangedCallback('opened');
  }

  attributeChangedCallback(name, _before, value) {
    if (name === 'text' && this.text) this.text.textContent = value ?? '';
    if (name !== 'opened' || !this.isBuilt || !this.has('opened')) return;
    const shown = Number(this.getAttribute('duration') ?? 3000);
    if (shown > 0) setTimeout(() => this.removeAttribute('opened'), shown);
  }

  show() {
    this.setAttribute('opened', '');
  }
});
