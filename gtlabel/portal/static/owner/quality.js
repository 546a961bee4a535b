// How good the answers of a job are: agreement, workers with their flags, and what each of them mixes up.

import {get} from '/static/api.js';
import {byId, node, percent} from '/static/nodes.js';

const LIVE_MILLISECONDS = 10_000;
const FLAGS = {spammer: 'guesses', contrary: 'worse than guessing', copies: 'copies', drift: 'changed', fast: 'too fast'};
const number = Number(window.location.pathname.split('/')[3]);
let workers = [];
let classes = [];
let shown = '';

/** A figure with its interval, drawn as a line from 0 to 1 as well. */
function range(found, text) {
  if (!found) return node('td', {}, '–');
  const line = node('span', {class: 'range', 'aria-hidden': 'true'});
  const inside = node('span', {class: 'inside'});
  const mark = node('span', {class: 'mark'});
  const at = (value) => `${Math.min(100, Math.max(0, value * 100))}%`;
  inside.style.left = at(found.low);
  inside.style.right = `calc(100% - ${at(found.high)})`;
  mark.style.left = at(found.value);
  line.append(inside, mark);
  return node('td', {}, node('span', {class: 'figure'}, `${text(found.value)} (${text(found.low)} to ${text(found.high)})`), line);
}

const plain = (value) => value.toFixed(2);

function draw(quality) {
  document.title = `${quality.name}: answers`;
  byId('title').textContent = quality.name;
  classes = quality.classes;
  workers = quality.workers;
  byId('facts').textContent = quality.answers
    ? `${quality.cut ? 'The latest ' : ''}${quality.answers} answers of ${workers.length} ${workers.length === 1 ? 'person' : 'people'}.`
      + (quality.several ? ' A picture may have several classes: each class of each picture is a question with yes or no.' : '')
    : 'Nobody has answered yet, or the answers are a page’s own, which cannot be compared.';
  drawAgreement(quality.agreement);
  byId('known-head').hidden = !known();
  byId('workers-state').textContent = workers.length ? flagged(quality.several) : '';
  byId('workers').tBodies[0].replaceChildren(...workers.flatMap(rows));
  drawChoice();
}

function flagged(several) {
  if (several) return 'Nobody is flagged where a picture may have several classes: what is said of them hangs together.';
  const count = workers.filter((one) => one.flags.length).length;
  const rule = 'Where nothing is wrong, one job in twenty at most gets a flag of a kind by chance.';
  return `${count === 0 ? 'Nobody is' : count === 1 ? 'One is' : `${count} are`} flagged. ${rule} Each worker is judged by what others say, without his own answer.`;
}

function drawAgreement(agreement) {
  byId('agreement').hidden = !agreement || agreement.objects === 0;
  if (byId('agreement').hidden) {
    byId('agreement-state').textContent = 'No picture has two answers yet.';
    return;
  }
  const rest = agreement.single ? ` ${agreement.single} more have one answer, which says nothing about agreement.` : '';
  byId('agreement-state').textContent = `Two people who look at the same picture say the same in ${percent(agreement.observed.value)} of cases, `
    + `over ${agreement.objects} pictures with two answers or more.${rest}`;
  const all = node('tr', {}, node('th', {scope: 'row'}, 'all'), node('td', {class: 'number'}, ''), range(agreement.alpha, plain), range(agreement.kappa, plain));
  byId('agreement').tBodies[0].replaceChildren(all, ...agreement.classes.map((one) => node('tr', {}, node('th', {scope: 'row'}, one.name),
    node('td', {class: 'number'}, String(one.answers)), range(one.alpha, plain), range(one.kappa, plain))));
}

/** Whether anybody answered a picture whose class is known. */
function known() {
  return workers.some((one) => one.gold);
}

function rows(one) {
  const flags = one.flags.map(({kind, why, others}) => node('li', {}, node('strong', {}, FLAGS[kind] ?? kind),
    ` ${others.length ? `with ${others.join(', ')}: ` : ''}${why}`));
  const first = node('tr', {class: flags.length ? 'flagged' : null}, node('th', {scope: 'row'}, one.name), node('td', {class: 'number'}, String(one.answers)),
    node('td', {class: 'number'}, one.seconds === null ? '–' : one.seconds.toFixed(1)), range(one.accuracy, percent), range(one.informed, percent),
    ...(known() ? [range(one.gold, percent)] : []));
  return flags.length ? [first, node('tr', {class: 'why'}, node('td', {colspan: known() ? '6' : '5'}, node('ul', {class: 'flags'}, ...flags)))] : [first];
}

function drawChoice() {
  const drawn = workers.filter((one) => one.confusion);
  const names = drawn.map((one) => one.name);
  const before = byId('who').value;
  if (JSON.stringify(names) !== shown) {
    shown = JSON.stringify(names);
    byId('who').replaceChildren(...names.map((name) => node('option', {}, name)));
    if (names.includes(before)) byId('who').value = before;
  }
  byId('who').disabled = names.length === 0;
  drawMap();
}

/** Rows are what others take a picture for, columns what this worker said. */
function drawMap() {
  const one = workers.find((each) => each.confusion && each.name === byId('who').value);
  byId('map-state').textContent = one
    ? 'Rows: what the others take a picture for. Columns: what this worker said. Below each share, between what it lies, and how many answers.'
    : 'Maps are drawn for up to twelve classes.';
  byId('map').hidden = !one;
  if (!one) return;
  const {counts, share, low, high} = one.confusion;
  const head = node('thead', {}, node('tr', {}, node('td', {}), ...classes.map((name) => node('th', {scope: 'col'}, name))));
  const body = classes.map((name, row) => node('tr', {}, node('th', {scope: 'row'}, name), ...classes.map((_, column) => {
    const cell = node('td', {class: row === column ? 'right' : 'wrong'}, node('b', {}, percent(share[row][column])),
      node('small', {}, `${percent(low[row][column])} to ${percent(high[row][column])}`), node('small', {}, `${counts[row][column].toFixed(1)} answers`));
    cell.style.setProperty('--share', `${Math.round(share[row][column] * 55)}%`);
    return cell;
  })));
  byId('map').replaceChildren(head, node('tbody', {}, ...body));
}

async function refresh() {
  try {
    draw(await get(`/api/owner/jobs/${number}/quality`));
    byId('trouble').hidden = true;
  } catch (error) {
    byId('trouble').hidden = false;
    byId('trouble').textContent = `The answers cannot be read now: ${error.message}`;
  }
  if (!document.hidden) setTimeout(refresh, LIVE_MILLISECONDS);
  else document.addEventListener('visibilitychange', refresh, {once: true});
}

byId('who').onchange = drawMap;
byId('back').href = `/owner/jobs/${number}`;
refresh();
