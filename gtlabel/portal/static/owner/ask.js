// What cannot be undone is asked about first.

import {call} from '/static/api.js';
import {byId, node, plural} from '/static/nodes.js';

/** Do what a dialog asks about, if the owner says yes. */
export function ask(name, act) {
  const dialog = byId(name);
  dialog.returnValue = '';
  dialog.onclose = async () => {
    if (dialog.returnValue !== 'yes') return;
    // Not where the page tells that it cannot be read now, which goes when it can be.
    byId('refused').hidden = true;
    try {
      await act();
    } catch (error) {
      byId('refused').hidden = false;
      byId('refused').textContent = error.message;
    }
  };
  dialog.showModal();
}

/**
 * What stands beside somebody whose answers can be withdrawn: a button that asks first.
 *
 * @param {number} job its number.
 * @param {{name: string, withdrawn: boolean}} one whose answers they are.
 * @param {boolean} running whether the job still takes answers; else nobody could take the places.
 * @param {() => number} answers how many they are by now.
 * @param {() => void} done is called when they are withdrawn, or cannot be: what the page shows is not so any more.
 */
export function withdrawal(job, one, running, answers, done) {
  if (one.withdrawn) return {kind: 'withdrawn', make: () => node('span', {}, 'withdrawn')};
  if (!running) return {kind: 'over', make: () => null};
  return {kind: 'open', make: () => node('button', {type: 'button', 'aria-label': `Withdraw the answers of ${one.name}`, onclick: () => {
    const count = answers();
    byId('withdraw-what').textContent = `${plural(count, 'answer')} of ${one.name} ${count === 1 ? 'stays' : 'stay'} on record and `
      + `${count === 1 ? 'counts' : 'count'} no more. Others are asked about these pictures, and ${one.name} gets no more of this job. `
      + 'This cannot be undone.';
    ask('withdraw', async () => {
      try {
        await call(`owner/jobs/${job}/withdraw`, {worker: one.name});
      } finally {
        done();
      }
    });
  }}, 'Withdraw')};
}
