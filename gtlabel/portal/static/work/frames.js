// The two stacked frames: the task at hand, and behind it the next one, loaded already.

// A page that has not said that it is there by then did not come; each time it gets twice as long.
const PATIENCE_MILLISECONDS = 5_000;

// What a browser has to do for a page that it has just put on show; a heavy page behind it would be in its way.
const SETTLE_MILLISECONDS = 40;

/** Does what nobody waits for when the page on show has been painted, or at once where nobody looks. */
export function afterPaint(work) {
  if (document.hidden) work();
  else requestAnimationFrame(() => setTimeout(work, SETTLE_MILLISECONDS));
}

/** Speaks with sandboxed task pages; `hear(task, message)` gets what the page of a task said. */
export class Frames {
  constructor(elements, hear, settings) {
    this.frames = elements.map((element) => ({element, task: null, isReady: false, due: 0, patience: 0}));
    this.settings = settings;
    window.addEventListener('message', (event) => {
      // An opaque origin says nothing; the window and the nonce of its lease do.
      const frame = this.frames.find(({element}) => element.contentWindow === event.source);
      const said = event.data;
      if (!frame?.task || typeof said?.type !== 'string' || said.nonce !== frame.task.nonce) return;
      if (said.type === 'gtlabel:ready') this.ready(frame);
      hear(frame.task, {...said, type: said.type.replace('gtlabel:', '')});
    });
  }

  /** Shows the first of these tasks and loads the second. */
  arrange([current = null, next = null]) {
    const wanted = [current, next].filter(Boolean);
    for (const task of wanted) {
      if (this.frames.some((frame) => frame.task === task)) continue;
      this.load(this.frames.find((frame) => !wanted.includes(frame.task)), task);
    }
    for (const frame of this.frames) {
      const isFront = current !== null && frame.task === current;
      const wasFront = frame.element.classList.contains('front');
      frame.element.classList.toggle('front', isFront);
      frame.element.title = isFront ? 'Task' : 'Next task';
      frame.element.tabIndex = isFront ? 0 : -1;
      frame.element.toggleAttribute('inert', !isFront);
      if (isFront) frame.element.removeAttribute('aria-hidden');
      else frame.element.setAttribute('aria-hidden', 'true');
      if (isFront && !wasFront && frame.isReady) this.show(frame);
    }
  }

  /** Gives the keyboard back to the task. */
  focus() {
    const front = this.frames.find(({element}) => element.classList.contains('front'));
    // A frame that gets the focus from outside forgets which of its controls had it, so its page is told again.
    if (front?.isReady) this.show(front);
    else front?.element.focus();
  }

  /** Tells the pages what the worker set. */
  set(settings) {
    this.settings = settings;
    for (const frame of this.frames) this.post(frame, 'settings', settings);
  }

  /** Asks again for pages that did not come: the server was away, or the session was over. */
  revive() {
    for (const frame of this.frames) {
      if (!frame.task || frame.isReady || performance.now() < frame.due) continue;
      this.load(frame, frame.task, frame.patience * 2);
      frame.element.classList.toggle('front', !frame.element.hasAttribute('inert'));
    }
  }

  load(frame, task, patience = PATIENCE_MILLISECONDS) {
    Object.assign(frame, {task, isReady: false, patience, due: performance.now() + patience});
    frame.element.classList.remove('front');
    // A new address in place of a new entry in the history: "back" leads to the list of jobs.
    frame.element.contentWindow.location.replace(`/frame/${encodeURIComponent(task.lease)}`);
  }

  ready(frame) {
    // A page that says so again and again would take the keyboard from the shell each time.
    if (frame.isReady) return;
    frame.isReady = true;
    this.post(frame, 'settings', this.settings);
    if (frame.task.answer) this.post(frame, 'answer', {answer: frame.task.answer});
    if (frame.element.classList.contains('front')) this.show(frame);
  }

  show(frame) {
    frame.element.focus();
    this.post(frame, 'show');
  }

  post(frame, type, content = {}) {
    if (!frame.task) return;
    // The receiver's origin is opaque, so it cannot be named; the message holds nothing but the task's own.
    frame.element.contentWindow.postMessage({type: `gtlabel:${type}`, nonce: frame.task.nonce, ...content}, '*');
  }
}
