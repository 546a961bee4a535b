// Two clocks of a task: the seconds a worker really looked, and the time that is left.

/** Counts seconds while the page can be seen. */
export class Stopwatch {
  constructor() {
    this.spent = 0;
    this.since = document.hidden ? null : performance.now();
    this.watch = () => (document.hidden ? this.pause() : this.go());
    document.addEventListener('visibilitychange', this.watch);
  }

  go() {
    this.since ??= performance.now();
  }

  pause() {
    this.spent = this.milliseconds();
    this.since = null;
  }

  milliseconds() {
    return this.spent + (this.since === null ? 0 : performance.now() - this.since);
  }

  /** Ends the count; seconds. */
  stop() {
    document.removeEventListener('visibilitychange', this.watch);
    return Math.round(this.milliseconds()) / 1000;
  }
}

/** `seconds` as minutes and seconds. */
export function minutes(seconds) {
  const left = Math.max(0, Math.floor(seconds));
  return `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`;
}
