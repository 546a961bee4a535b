// The list of jobs that a worker may work on.

import {get, isSignedOut} from '/static/api.js';
import {byId, node} from '/static/nodes.js';

const REFRESH_MILLISECONDS = 10_000;

function cardOf(job) {
  const text = node('div', {class: 'text'}, node('h2', {}, job.title), node('p', {}, job.description));
  text.append(node('p', {class: 'soft'},
    `${job.name} · ${job.left} pictures to go · you answered ${job.mine}`));
  const card = node('li', {class: 'card'}, text);
  const word = job.stopped > 0 ? `Resume (${job.stopped} stopped)` : 'Start working';
  if (job.left > 0 || job.stopped > 0) card.append(node('a', {class: 'button primary', href: `/work/${job.number}`}, word));
  else card.append(node('p', {class: 'soft'}, 'Nothing to do now'));
  if (job.grid && job.left > 0) card.append(node('a', {class: 'button', href: `/work/${job.number}?view=grid`}, 'Grid'));
  return card;
}

async function refresh() {
  const state = byId('state');
  try {
    const {name, role, jobs} = await get('/api/me');
    byId('me').textContent = name;
    byId('owner').hidden = role !== 'owner';
    byId('jobs').replaceChildren(...jobs.map(cardOf));
    state.textContent = jobs.length ? '' : 'There is no job for you now. This page looks again by itself.';
  } catch (error) {
    // The page itself says what to do.
    if (isSignedOut(error)) window.location.reload();
    state.textContent = `The list cannot be read now: ${error.message}`;
  }
}

refresh();
setInterval(() => document.hidden || refresh(), REFRESH_MILLISECONDS);
