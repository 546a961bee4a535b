// One job: what it is at, what people say, and where they disagree.

import {call, get} from '/static/api.js';
import {drawAutomation} from '/static/owner/automation.js';
import {ago, byId, node, percent} from '/static/nodes.js';

const LIVE_MILLISECONDS = 2_000;
const QUIET_MILLISECONDS = 15_000;
const number = Number(window.location.pathname.split('/')[3]);
let shownDisputes = '';
let shownPeople = '';

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
  drawPeople(job.people, job.status === 'InProgress');
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
  const error = saving.expected_error === null ? '' : ` Before the last round, ${(saving.expected_error * 100).toFixed(1)} % of the labels were expected to be wrong.`;
  byId('saving-error').textContent = `Asked for: ${saving.policy}.${error}`;
}

/** Drawn anew when something changed, and once a minute: a button must not vanish under a finger. */
function drawPeople(people, running) {
  const text = JSON.stringify([people, running, Math.floor(Date.now() / 60_000)]);
  if (text === shownPeople) return;
  shownPeople = text;
  byId('people').tBodies[0].replaceChildren(...people.map((one) => node('tr', {}, node('td', {}, one.name),
    node('td', {class: 'number'}, String(one.answers)), node('td', {class: 'number'}, one.withdrawn ? '–' : one.seconds.toFixed(1)),
    node('td', {class: 'number'}, one.withdrawn ? '–' : percent(one.agreement)), node('td', {}, ago(one.last)),
    node('td', {}, one.withdrawn ? 'withdrawn' : running ? withdrawal(one) : null))));
}

function withdrawal(one) {
  const button = node('button', {type: 'button', 'aria-label': `Withdraw the answers of ${one.name}`}, 'Withdraw');
  button.onclick = () => {
    byId('withdraw-what').textContent = `${one.answers} answers of ${one.name} stay on record and count no more. `
      + `Others are asked about these pictures, and ${one.name} gets no more of this job. This cannot be undone.`;
    ask('withdraw', () => call(`owner/jobs/${number}/withdraw`, {worker: one.name}));
  };
  return button;
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

/** Do what a dialog asks about, if the owner says yes. */
function ask(name, act) {
  const dialog = byId(name);
  dialog.returnValue = '';
  dialog.onclose = async () => {
    if (dialog.returnValue !== 'yes') return;
    try {
      await act();
    } catch (error) {
      byId('trouble').hidden = false;
      byId('trouble').textContent = error.message;
    }
  };
  dialog.showModal();
}

byId('stop').onclick = () => ask('confirm', async () => {
  await call(`owner/jobs/${number}/stop`);
  byId('stop').hidden = true;
});

byId('quality').href = `/owner/jobs/${number}/quality`;
refresh();
