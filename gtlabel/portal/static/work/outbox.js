// Answers on their way: sent in order, again and again while the server is away, each under its lease.

import {call, isPassing} from '/static/api.js';

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;

export class Outbox {
  /** `tell(count)` hears how many answers are not stored yet, whenever one has to be sent again. */
  constructor(tell) {
    this.tell = tell;
    this.waiting = 0;
    this.last = Promise.resolve();
    window.addEventListener('beforeunload', (event) => this.waiting > 0 && event.preventDefault());
  }

  /** Sends after everything before it; resolves with the server's answer, rejects with its refusal. */
  send(action, body) {
    this.waiting++;
    const sent = this.last.then(() => this.persist(action, body)).finally(() => {
      this.waiting--;
    });
    this.last = sent.catch(() => {});
    return sent;
  }

  async persist(action, body) {
    for (let pause = FIRST_PAUSE; ; pause = Math.min(LONGEST_PAUSE, pause * 2)) {
      try {
        const said = await call(action, body);
        this.tell(0);
        return said;
      } catch (error) {
        if (!isPassing(error)) throw error;
        this.tell(this.waiting, error.message);
        await new Promise((done) => setTimeout(done, pause));
      }
    }
  }
}
