// One job: what it is at, what people say, and where they disagree.

import {call, get} from '/static/api.js';
import {ask, withdrawal} from '/static/owner/ask.js';
import {drawAutomation} from '/static/owner/automation.js';
import {Table} from '/static/owner/table.js';
import {ago, byId, node, percent} from '/static/nodes.js';

const LIVE_MILLISECONDS = 2_000;
const QUIET_MILLISECONDS = 15_000;
const number = Number(window.location.pathname.split('/')[3]);
const table = new Table('people');
let shownDisputes = '';
let people = [];

function draw(job) {
  document.title = job.name;
  byId('title').textContent = job.name;
  byId('status').textContent = job.status;
  byId('status').className = `badge ${job.status}`;
  byId('stop').hidden = job.ended || job.status === 'Stopping';
  byId('progress').value = job.total ? (job.labeled + job.failed) / job.total : 0;
  byId('counts').textContent = `${job.labeled} of ${job.total} labeled${job.failed ? `, ${job.failed} failed` : ''}`;
  byId('facts').textContent = [job.title, `${job.saving ? 'up to ' : ''}${job.workers_per_object} ${job.workers_per_object === 1 ? 'person' : 'people'} for each picture`,
    `label attribute ${job.attribute}`, job.output, job.reason].filter(Boolean).join(' · ');
  drawClasses(job.classes);
  drawAutomation(job.automation);
  drawSaving(job.saving, job.ended);
  people = job.people;
  drawPeople(job.status === 'InProgress');
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

/** What asking only where it helps came to, beside as many answers for each picture. */
function drawSaving(saving, ended) {
  byId('saving').hidden = !saving || !saving.fixed;
  if (byId('saving').hidden) return;
  byId('saving-bar').value = saving.share;
  byId('saving-state').textContent = `${saving.answers} answers ${ended ? 'were' : 'have been'} given where ${saving.most} for each of ${saving.images} `
    + `pictures would be ${saving.fixed}: ${percent(saving.share)} of them${ended ? `, ${saving.saved} saved` : ''}.`;
  const error = saving.expected_error === null ? '' : ` Before the last round, ${percent(saving.expected_error, 1)} of the labels were expected to be wrong.`;
  const [least, most] = saving.error_range ?? [];
  const real = saving.error_range ? ` Where the truth is known and as much was expected, between ${percent(least, 1)} and ${percent(most, 1)} were.` : '';
  byId('saving-error').textContent = `Asked for: ${saving.policy}.${error}${real}`;
  byId('saving-more').hidden = saving.rounds.length === 0;
  byId('saving-rounds').tBodies[0].replaceChildren(...saving.rounds.map((each, place) => node('tr', {},
    ...[place + 1, percent(each.expected_error, 1), each.images].map((value) => node('td', {class: 'number'}, String(value))))));
}

function drawPeople(running) {
  table.draw(people.map((one) => {
    const lately = [one.seconds.toFixed(1), percent(one.agreement)].map((text) => (one.withdrawn ? '–' : text));
    return {
      key: one.name,
      cells: [node('th', {scope: 'row'}, one.name),
        ...[String(one.answers), ...lately].map((text) => node('td', {class: 'number'}, text)), node('td', {}, ago(one.last))],
      action: withdrawal(number, one, running, () => people.find(({name}) => name === one.name).answers, refresh),
    };
  }));
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

let waiting = 0;

/** Look now, and again after a while. */
async function refresh() {
  clearTimeout(waiting);
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
  clearTimeout(waiting);
  waiting = setTimeout(refresh, document.hidden ? QUIET_MILLISECONDS : pause);
}

byId('stop').onclick = () => ask('confirm', async () => {
  await call(`owner/jobs/${number}/stop`);
  byId('stop').hidden = true;
});

byId('quality').href = `/owner/jobs/${number}/quality`;
refresh();
