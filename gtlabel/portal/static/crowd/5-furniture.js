// What a page is furnished with, and what has no part in the answer: buttons, cards, alerts, tabs, dialogs.

class Button extends CrowdElement {
  static delegates = true;
  static observedAttributes = ['disabled', 'loading', 'href'];
  static look = ':host { display: inline-block; margin: 2px; } .icon { width: 20px; height: 20px; }';

  get disabled() {
    return this.has('disabled');
  }

  set disabled(value) {
    this.toggleAttribute('disabled', Boolean(value));
  }

  build() {
    const address = this.getAttribute('href');
    const variant = {primary: 'primary', link: 'link'}[this.getAttribute('variant')];
    this.inner = isAddress(address)
      ? make('a', {class: 'button', href: address, target: this.getAttribute('target'), rel: 'noopener noreferrer'})
      : make('button', {type: 'button', class: variant});
    this.fill();
    this.shadowRoot.append(this.inner);
    this.attributeChangedCallback();
    this.addEventListener('click', (event) => this.press(event));
  }

  fill() {
    const picture = this.getAttribute('icon-url');
    const icon = isAddress(picture) ? make('img', {class: 'icon', src: picture, alt: ''}) : null;
    const parts = [icon, make('slot')];
    if (this.getAttribute('icon-align') === 'right') parts.reverse();
    this.inner.append(...parts.filter(Boolean));
  }

  attributeChangedCallback() {
    if (!this.inner) return;
    const isBusy = this.has('loading');
    this.inner.disabled = this.disabled || isBusy;
    this.inner.setAttribute('aria-busy', String(isBusy));
  }

  press(event) {
    if (this.disabled || this.has('loading')) {
      event.stopImmediatePropagation();
      event.preventDefault();
      return;
    }
    const action = this.getAttribute('form-action');
    if (action === 'submit') formOf(this)?.requestSubmit();
    if (action === 'reset') formOf(this)?.reset();
  }
}

class IconButton extends Button {
  fill() {
    const title = this.getAttribute('label') || this.getAttribute('title') || this.getAttribute('icon') || 'Button';
    this.inner.title = title;
    this.inner.setAttribute('aria-label', title);
    this.inner.append(this.getAttribute('label') || ICONS[this.getAttribute('icon')] || '•');
  }
}

const ICONS = {add: '+', remove: '−', close: '×', clear: '×', check: '✓', done: '✓', search: '⌕', help: '?', info: 'i'};

define('crowd-button', Button);
define('crowd-icon-button', IconButton);
define('crowd-fab', class extends IconButton {
  static look = `${Button.look} button { border-radius: 28px; min-width: 56px; min-height: 56px; font-size: 18px; }`;
});

define('crowd-badge', class extends CrowdElement {
  static look = `:host { display: inline-block; background: var(--accent); color: var(--paper); border-radius: 11px;
  padding: 0 8px; font-size: 13px; line-height: 22px; }`;

  build() {
    this.shadowRoot.append(this.getAttribute('label') || ICONS[this.getAttribute('icon')] || '', make('slot'));
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
  usual = 'Open';

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
  usual = 'View instructions';

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
    const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
    if (!step) return;
    const tabs = [...list.children];
    const next = (tabs.indexOf(event.target) + step + tabs.length) % tabs.length;
    show(next);
    tabs[next].focus();
  });
  show(0);
  return list;
}

function tabLook() {
  return `.tabs { display: flex; gap: 4px; border-bottom: 1px solid var(--line); margin-bottom: 12px; }
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
  border-radius: 6px; background: var(--ink); color: var(--paper); } :host([opened]) { display: block; }`;

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
