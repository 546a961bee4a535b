// The page of one task and the shell around it: messages both ways, keys, and the moment all elements are there.

const page = {shownAt: null};
// Keys that mean something to the shell: undo, skip, help, grid.
const SHELL_KEYS = ['u', 'Backspace', 's', '?', 'Escape', 'g'];
const TYPELESS_INPUTS = ['checkbox', 'radio', 'button', 'submit', 'range', 'color'];

/** Sends a message to the shell; false when there is none. */
function tellShell(type, content = {}) {
  if (window.parent === window || !settings.portalOrigin) return false;
  window.parent.postMessage({type: `gtlabel:${type}`, nonce: settings.nonce, ...content}, settings.portalOrigin);
  return true;
}

/** The element that keys mean, a classifier or a drawing one: the one with the focus, or else the first. */
function mainElement() {
  return document.activeElement?.closest(FULL_PAGE) ?? document.querySelector(FULL_PAGE);
}

const ORDERS = {
  show() {
    page.shownAt = performance.now();
    (mainElement() ?? document.body).focusFirst?.();
  },
  answer({answer}) {
    document.querySelector('crowd-form')?.restore(answer);
  },
  settings({fast, hotkeys}) {
    Object.assign(settings, {fast: Boolean(fast), hotkeys: Boolean(hotkeys)});
    for (const element of document.querySelectorAll(FULL_PAGE)) element.classList.toggle('quiet', !settings.hotkeys);
  },
};

window.addEventListener('message', (event) => {
  if (event.source !== window.parent || event.origin !== settings.portalOrigin) return;
  if (event.data?.nonce !== settings.nonce) return;
  ORDERS[String(event.data.type).replace('gtlabel:', '')]?.(event.data);
});

function isTyping(target) {
  const isText = target.localName === 'input' && !TYPELESS_INPUTS.includes(target.type);
  return target.isContentEditable || isText || ['textarea', 'select'].includes(target.localName);
}

function isDialogOpen() {
  const roots = [document, ...[...document.querySelectorAll('*')].map((node) => node.shadowRoot).filter(Boolean)];
  return roots.some((root) => root.querySelector('dialog[open]'));
}

document.addEventListener('keydown', (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  if ((event.ctrlKey || event.metaKey) && event.key === 'Enter') {
    event.preventDefault();
    document.querySelector('crowd-form')?.requestSubmit();
    return;
  }
  // A shadow names its host as the target; the path begins at what really has the focus.
  const target = event.composedPath()[0];
  const isModified = event.ctrlKey || event.metaKey || event.altKey;
  if (isModified || event.repeat || !settings.hotkeys || isTyping(target) || isDialogOpen()) return;
  const main = mainElement();
  if (main?.key?.(event.key)) {
    event.preventDefault();
  } else if (event.key === 'Enter' && main && !['button', 'a', 'summary'].includes(target.localName)) {
    event.preventDefault();
    formOf(main)?.requestSubmit();
  } else if (SHELL_KEYS.includes(event.key) && tellShell('key', {key: event.key})) {
    event.preventDefault();
  }
});

// A sandboxed frame opens nothing by itself; the shell does, after a click.
document.addEventListener('click', (event) => {
  const link = event.composedPath().find((node) => node instanceof HTMLAnchorElement && node.href);
  if (!link || event.defaultPrevented || link.getAttribute('href').startsWith('#')) return;
  if (tellShell('link', {href: link.href})) event.preventDefault();
});

// A page without a picture of ours, or whose pictures stand in plain HTML, is ready when those are.
document.addEventListener('error', (event) => {
  if (event.target.localName === 'img') tellShell('image', {ok: false});
}, true);

for (const [name, type] of definitions) customElements.define(name, type);

// Many templates wait for this event before they touch an element.
afterParsing(() => setTimeout(() => {
  ORDERS.settings(settings);
  document.dispatchEvent(new CustomEvent('all-crowd-elements-ready', {bubbles: true}));
  tellShell('ready');
}));
