// All jobs, with their progress as it happens.

import {byId, node} from '/static/nodes.js';

const cards = new Map();

function cardOf(job) {
  const card = {
    element: node('li', {class: 'card'}),
    badge: node('span', {class: `badge ${job.status}`}),
    counts: node('p', {class: 'soft'}),
    bar: node('progress', {max: '1', 'aria-label': `Progress of ${job.name}`}),
  };
  card.element.append(
    node('div', {class: 'text'}, node('h2', {}, node('a', {href: `/owner/jobs/${job.number}`}, job.name)),
      node('p', {}, job.title), card.counts, card.bar), card.badge);
  return card;
}

function update(job) {
  if (!cards.has(job.number)) cards.set(job.number, cardOf(job));
  const card = cards.get(job.number);
  card.badge.className = `badge ${job.status}`;
  card.badge.textContent = job.status;
  card.counts.textContent = `${job.labeled} of ${job.total} labeled${job.failed ? `, ${job.failed} failed` : ''}`;
  card.bar.value = job.total ? (job.labeled + job.failed) / job.total : 0;
  return card.element;
}

function watch() {
  const events = new EventSource('/api/owner/events');
  events.addEventListener('jobs', (event) => {
    const {jobs} = JSON.parse(event.data);
    const elements = jobs.map(update);
    const list = byId('jobs');
    if (elements.some((element, place) => list.children[place] !== element)) list.replaceChildren(...elements);
    byId('empty').hidden = jobs.length > 0;
    byId('live').textContent = 'Live';
  });
  events.addEventListener('trouble', (event) => {
    events.close();
    byId('live').textContent = JSON.parse(event.data).error;
  });
  events.onerror = () => {
    byId('live').textContent = 'The server is away; trying again.';
  };
}

watch();
