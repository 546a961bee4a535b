// How good the answers of a job are: agreement, how sure labels are, and workers with their flags.

import {get} from '/static/api.js';
import {withdrawal} from '/static/owner/ask.js';
import {drawCertainty} from '/static/owner/certainty.js';
import {Maps} from '/static/owner/maps.js';
import {plain, range} from '/static/owner/range.js';
import {Table} from '/static/owner/table.js';
import {byId, node, plural, spread} from '/static/nodes.js';

const LIVE_MILLISECONDS = 10_000;
const FLAGS = {spammer: 'guesses', contrary: 'worse than guessing', copies: 'copies', drift: 'changed', fast: 'too fast'};
const number = Number(window.location.pathname.split('/')[3]);
const table = new Table('workers');
const maps = new Maps();
let workers = [];

function draw(quality) {
  document.title = `${quality.name}: answers`;
  byId('title').textContent = quality.name;
  workers = quality.workers;
  byId('facts').textContent = facts(quality);
  for (const id of ['agreement-part', 'sure-part', 'workers-part', 'maps-part']) byId(id).hidden = !quality.answers;
  if (!quality.answers) return;
  drawAgreement(quality.agreement, quality.several);
  drawCertainty(quality.certainty, quality.several);
  drawWorkers(quality);
  maps.draw(quality);
}

function facts({answers, cut, comparable, several, withdrawn}) {
  const gone = withdrawn.length ? ` What ${withdrawn.join(', ')} answered was withdrawn and does not count here.` : '';
  if (!comparable) return 'The answers in this job are its own page’s, which cannot be compared.';
  if (!answers) return `Nobody has answered yet.${gone}`;
  return `${cut ? 'The latest ' : ''}${plural(answers, 'answer')} of ${plural(workers.length, 'person', 'people')}.`
    + (several ? ' A picture may have several classes: each class of each picture is a question with yes or no.' : '') + gone;
}

function drawAgreement(agreement, several) {
  byId('agreement-scroll').hidden = agreement.objects === 0;
  byId('agreement-words').hidden = agreement.objects === 0;
  if (agreement.objects === 0) {
    byId('agreement-state').textContent = 'No picture has two answers yet.';
    return;
  }
  const rest = agreement.single ? ` ${agreement.single} more ${agreement.single === 1 ? 'has' : 'have'} one answer, which says nothing about agreement.` : '';
  byId('agreement-state').textContent = `Two people who ${several ? 'are asked the same question' : 'look at the same picture'} say the same in `
    + `${spread(agreement.observed)} of cases, over ${plural(agreement.objects, several ? 'question' : 'picture')} with two answers or more.${rest}`;
  byId('agreement-words').textContent = `1 is full agreement, 0 is what chance gives. ${several ? 'Answers are those that choose the class.' : 'A class stands against all others.'}`;
  const all = node('tr', {}, node('th', {scope: 'row'}, 'all'), node('td', {class: 'number'}, ''), range(agreement.alpha, plain), range(agreement.kappa, plain));
  byId('agreement').tBodies[0].replaceChildren(all, ...agreement.classes.map((one) => node('tr', {}, node('th', {scope: 'row'}, one.name),
    node('td', {class: 'number'}, String(one.answers)), range(one.alpha, plain), range(one.kappa, plain))));
}

function drawWorkers({running, several, name}) {
  const known = workers.some((one) => one.gold);
  byId('known-head').hidden = !known;
  byId('act-head').hidden = !running;
  byId('workers-state').textContent = flagged(several);
  byId('anew').hidden = running;
  byId('anew-command').textContent = `gtlabel quality reconsolidate ${name} --without WORKER`;
  table.draw(workers.map((one) => ({
    key: one.name,
    cells: [node('th', {scope: 'row'}, one.name), node('td', {class: 'number'}, String(one.answers)),
      node('td', {class: 'number'}, one.seconds === null ? '–' : one.seconds.toFixed(1)), range(one.accuracy, spread), range(one.informed, spread),
      ...(known ? [range(one.gold, (found) => `${spread(found)} of ${one.gold_answers}`)] : [])],
    action: running ? withdrawal(number, one, running, () => workers.find((each) => each.name === one.name).answers, refresh) : null,
    below: one.flags.length ? node('td', {colspan: String(5 + known + running)}, node('ul', {class: 'flags'}, ...one.flags.map(flag))) : null,
  })));
}

function flag({kind, why, others}) {
  return node('li', {}, node('strong', {}, FLAGS[kind] ?? kind), ` ${others.length ? `with ${others.join(', ')}: ` : ''}${why}`);
}

function flagged(several) {
  if (workers.every((one) => !one.backed)) return 'Nobody else answered the same pictures, and none is known: who is good cannot be told.';
  if (several) return 'Nobody is flagged where a picture may have several classes: what is said of them hangs together.';
  const count = workers.filter((one) => one.flags.length).length;
  const rule = 'A flag is a reason to look, and no proof: where nothing is wrong, one job in twenty at most gets one of a kind by chance.';
  return `${count === 0 ? 'Nobody is' : count === 1 ? 'One is' : `${count} are`} flagged. ${count ? `${rule} ` : ''}`
    + 'Each worker is judged by what others say; how often they are right, where others are in doubt, by their own answers as well. The ranges in parentheses are 95\u00a0% intervals.';
}

let waiting = 0;

/** Look now, and again after a while. */
async function refresh() {
  clearTimeout(waiting);
  try {
    draw(await get(`/api/owner/jobs/${number}/quality`));
    byId('trouble').hidden = true;
  } catch (error) {
    byId('trouble').hidden = false;
    byId('trouble').textContent = `The answers cannot be read now: ${error.message}`;
  }
  clearTimeout(waiting);
  if (!document.hidden) waiting = setTimeout(refresh, LIVE_MILLISECONDS);
  else document.addEventListener('visibilitychange', refresh, {once: true});
}

byId('back').href = `/owner/jobs/${number}`;
refresh();
