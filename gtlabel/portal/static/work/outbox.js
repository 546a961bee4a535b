// Answers on their way: sent again and again while the server is away, each under its lease, in order in a lane.

import {call, isPassing} from '/static/api.js';

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 10_000;

export class Outbox {
  /** `tell(count, error)` hears how many answers are not stored yet when one cannot be, and when all is well again. */
  constructor(tell) {
    this.tell = tell;
    this.waiting = 0;
    this.stuck = 0;
    this.lanes = new Map();
    window.addEventListener('beforeunload', (event) => this.waiting > 0 && event.preventDefault());
  }

  /** Sends after everything before it in its lane; resolves with the server's answer, rejects with its refusal. */
  send(action, body, lane = 0) {
    this.waiting++;
    const before = this.lanes.get(lane) ?? Promise.resolve();
    const sent = before.then(() => this.persist(action, body)).finally(() => {
      this.waiting--;
    });
    this.lanes.set(lane, sent.catch(() => {}));
    return sent;
  }

  async persist(action, body) {
    let isStuck = false;
    try {
      for (let pause = FIRST_PAUSE; ; pause = Math.min(LONGEST_PAUSE, pause * 2)) {
        try {
          return await call(action, body);
        } catch (error) {
          if (!isPassing(error)) throw error;
          if (!isStuck) this.stuck++;
          isStuck = true;
          this.tell(this.waiting, error);
          await new Promise((done) => setTimeout(done, pause));
        }
      }
    } finally {
      if (isStuck && --this.stuck === 0) this.tell(0);
    }
  }
}
