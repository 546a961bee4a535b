// What a working page tells beside the task: a word for a moment, trouble that lasts, and that there is nothing.

import {isSignedOut} from '/static/api.js';
import {byId} from '/static/nodes.js';

const CHIP_MILLISECONDS = 900;
let chipTimer = 0;

/** Shows a word for a moment. */
export function chip(text) {
  byId('chip').textContent = text;
  byId('chip').classList.add('shown');
  clearTimeout(chipTimer);
  chipTimer = setTimeout(() => byId('chip').classList.remove('shown'), CHIP_MILLISECONDS);
}

/** Says what is in the way until it is gone; `count` answers wait for that. Without an error all is well. */
export function tellTrouble(count, error) {
  const banner = byId('banner');
  banner.hidden = !error;
  if (!error) {
    banner.textContent = '';
    return;
  }
  const answers = count === 1 ? '1 answer is' : `${count} answers are`;
  const kept = count ? `${answers} not stored yet; this page keeps what you said and tries again.` : 'Trying again.';
  banner.textContent = isSignedOut(error)
    ? `You are signed out. ${kept} Ask the owner for an invite, open it in another tab, and this page goes on.`
    : `${error.message} ${kept}`;
}

/** Says that there is no task, in the place of one. */
export function notice(title, text) {
  byId('notice').hidden = false;
  byId('notice-title').textContent = title;
  byId('notice-text').textContent = text;
  byId('clock').hidden = true;
}
