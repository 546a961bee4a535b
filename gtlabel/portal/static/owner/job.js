// One job: what it is at, what people say, and where they disagree.

import {call, get} from '/static/api.js';
import {drawAutomation} from '/static/owner/automation.js';
import {ago, byId, node, percent} from '/static/nodes.js';

const LIVE_MILLISECONDS = 2_000;
const QUIET_MILLISECONDS = 15_000;
const number = Number(window.location.pathname.split('/')[3]);
let shownDisputes = '';

function draw(job) {
  document.title = job.name;
  byId('title').textContent = job.name;
  byId('status').textContent = job.status;
  byId('status').className = `badge ${job.status}`;
  byId('stop').hidden = job.ended || job.status === 'Stopping';
  byId('progress').value = job.total ? (job.labeled + job.failed) / job.total : 0;
  byId('counts').textContent = `${job.labeled} of ${job.total} labeled${job.failed ? `, ${job.failed} failed` : ''}`;
  byId('facts').textContent = [job.title, `${job.workers_per_object} ${job.workers_per_object === 1 ? 'person' : 'people'} for each picture`,
    `label attribute ${job.attribute}`, job.output, job.reason].filter(Boolean).join(' · ');
  drawClasses(job.classes);
  drawAutomation(job.automation);
  drawPeople(job.people);
  byId('agreement').textContent = job.agreement === null
    ? 'No picture has two answers yet.'
    : `Two people who look at the same picture say the same in ${percent(job.agreement)} of cases.`;
  drawDisputed(job.disputed);
}

function drawClasses(classes) {
  const most = Math.max(1, ...Object.values(classes));
  byId('classes').tBodies[0].replaceChildren(...Object.entries(classes).map(([name, count]) => {
    const meter = node('span', {class: 'meter'});
    meter.style.width = `${(count / most) * 100}%`;
    meter.hidden = count === 0;
    return node('tr', {}, node('td', {}, name), node('td', {class: 'number'}, String(count)), node('td', {}, meter));
  }));
}

function drawPeople(people) {
  byId('people').tBodies[0].replaceChildren(...people.map((one) => node('tr', {}, node('td', {}, one.name),
    node('td', {class: 'number'}, String(one.answers)), node('td', {class: 'number'}, one.seconds.toFixed(1)),
    node('td', {class: 'number'}, percent(one.agreement)), node('td', {}, ago(one.last)))));
}

/** Pictures are not loaded again when nothing changed. */
function drawDisputed(disputed) {
  const text = JSON.stringify(disputed);
  if (text === shownDisputes) return;
  shownDisputes = text;
  byId('disputed').replaceChildren(...disputed.map(({object, picture, votes}) => {
    const said = Object.entries(votes).map(([what, count]) => `${what} ${count}`).join(' · ');
    const image = picture ? node('img', {src: picture, alt: `Picture ${object}`, loading: 'lazy'}) : null;
    return node('li', {}, image, node('p', {}, `${object}: ${said}`));
  }));
}

async function refresh() {
  let pause = LIVE_MILLISECONDS;
  try {
    const job = await get(`/api/owner/jobs/${number}`);
    draw(job);
    byId('trouble').hidden = true;
    if (job.ended) pause = QUIET_MILLISECONDS;
  } catch (error) {
    byId('trouble').hidden = false;
    byId('trouble').textContent = `The job cannot be read now: ${error.message}`;
  }
  setTimeout(refresh, document.hidden ? QUIET_MILLISECONDS : pause);
}

byId('stop').onclick = () => {
  const dialog = byId('confirm');
  dialog.returnValue = '';
  dialog.onclose = async () => {
    if (dialog.returnValue !== 'yes') return;
    try {
      await call(`owner/jobs/${number}/stop`);
      byId('stop').hidden = true;
    } catch (error) {
      byId('trouble').hidden = false;
      byId('trouble').textContent = error.message;
    }
  };
  dialog.showModal();
};

refresh();
