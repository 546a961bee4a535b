// How sure labels are, and, beside pictures whose class is known, whether that is true.

import {range} from '/static/owner/range.js';
import {byId, node, percent, plural, shape, spread} from '/static/nodes.js';

// The drawing, in its own units.
const WIDTH = 420;
const HEIGHT = 330;
const LEFT = 66;
const BOTTOM = 46;
const EDGE = 22;
const TICKS = [0, 0.25, 0.5, 0.75, 1];
const LARGEST = 9;
const SMALLEST = 3;
let shownWrong = '';

/** @param {Object} told as gtlabel.portal.certainty says. @param {boolean} several classes of a picture. */
export function drawCertainty(told, several) {
  byId('sure-state').textContent = state(told, several);
  const {known} = told;
  byId('sure-unknown').hidden = Boolean(known);
  byId('sure-range').textContent = elsewhere(told);
  byId('sure-known').hidden = !known;
  if (!known) return;
  byId('known-state').textContent = `${spread(known.right)} of the labels of ${several ? 'the classes of ' : ''}`
    + `${plural(known.pictures, 'known picture')} are right, and they say ${percent(known.confidence)}. `
    + `They are made of the answers alone here${told.method === 'aws' ? ', as in the output' : '; in the output, these pictures get what is known of them'}.`;
  byId('calibration').replaceChildren(drawing(known.bins));
  byId('calibration-words').textContent = `On the dashed line, labels are as sure as they should be; below it, less often right than they say. `
    + `The larger a dot, the more labels; lines are 95\u00a0% intervals. Expected calibration error: ${spread(known.error, 1)}; `
    + `perfect probabilities would show about ${percent(known.noise, 1)} by chance on ${plural(known.labels, 'label')}.`;
  const groups = [['two classes as likely', known.tied], ['one answer', known.single]].filter(([, group]) => group);
  byId('bins').tBodies[0].replaceChildren(
    ...known.bins.map((bin) => row(`${(bin.low * 100).toFixed(0)} to ${percent(bin.high)}`, bin)),
    ...groups.map(([name, group]) => row(name, group)), row('all', known));
  drawWrong(known);
}

function state({method, labels, expected_right: right, tied, single, one_asked: one}, several) {
  const what = several ? plural(labels, 'decision about a class', 'decisions about a class') : plural(labels, 'label');
  const found = [`The method ${method} expects ${percent(right, 1)} of ${what} to be right, as far as people have answered.`];
  if (tied) found.push(`For ${tied}, two classes are as likely; the first in the list is taken.`);
  if (single) found.push(`${single} ${single === 1 ? 'rests' : 'rest'} on one answer: how sure ${single === 1 ? 'it is' : 'they are'} is what the method thinks of its worker.`);
  if (one) found.push('Where one person is asked, the output states 0 for each label, as AWS does.');
  return found.join(' ');
}

/** How far such an expectation was off elsewhere. */
function elsewhere({expected_right: right, wrong_range: wrong}) {
  if (!wrong) return '';
  return `With crowds whose truth is known, between ${percent(wrong[0], 1)} and ${percent(wrong[1], 1)} were wrong where ${percent(1 - right, 1)} was expected. `;
}

function row(name, {labels, confidence, right}) {
  return node('tr', {}, node('th', {scope: 'row'}, name), node('td', {class: 'number'}, String(labels)),
    node('td', {class: 'number'}, percent(confidence)), range(right, spread));
}

function drawing(bins) {
  const across = (share) => LEFT + share * (WIDTH - LEFT - EDGE);
  const up = (share) => HEIGHT - BOTTOM - share * (HEIGHT - EDGE - BOTTOM);
  const line = (name, x1, y1, x2, y2) => shape('line', {class: name, x1: across(x1), y1: up(y1), x2: across(x2), y2: up(y2)});
  const words = (text, x, y, more = {}) => shape('text', {x, y, ...more}, text);
  const grid = TICKS.flatMap((tick) => [line('grid', 0, tick, 1, tick),
    words(percent(tick), LEFT - 8, up(tick) + 4, {'text-anchor': 'end'}), words(percent(tick), across(tick), HEIGHT - BOTTOM + 18, {'text-anchor': 'middle'})]);
  const names = [words('says', across(0.5), HEIGHT - 6, {'text-anchor': 'middle', class: 'name'}),
    words('right', 0, 0, {'text-anchor': 'middle', class: 'name', transform: `translate(13 ${up(0.5)}) rotate(-90)`})];
  const most = Math.max(...bins.map((bin) => bin.labels));
  const dots = bins.map((bin) => shape('circle', {class: 'dot', cx: across(bin.confidence), cy: up(bin.right.value),
    r: Math.max(SMALLEST, LARGEST * Math.sqrt(bin.labels / most))}, shape('title', {}, told(bin))));
  return shape('svg', {class: 'calibration', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: 'img', 'aria-label': `Reliability diagram. ${bins.map(told).join('; ')}`},
    ...grid, ...names, line('ideal', 0, 0, 1, 1),
    ...bins.map((bin) => line('whisker', bin.confidence, bin.right.low, bin.confidence, bin.right.high)), ...dots);
}

function told({labels, confidence, right}) {
  return `${plural(labels, 'label')} that ${labels === 1 ? 'says' : 'say'} ${percent(confidence)}: ${spread(right)} right`;
}

/** Pictures are not loaded again when nothing changed. */
function drawWrong({wrong, shown}) {
  byId('wrong-part').hidden = !wrong;
  const text = JSON.stringify(shown);
  if (text === shownWrong) return;
  shownWrong = text;
  byId('wrong-state').textContent = `${shown.length < wrong ? `The surest ${shown.length} of ${wrong}` : 'The surest first'}. Where many people agree, look whether what is known is right.`;
  byId('wrong').replaceChildren(...shown.map(({object, picture, question, known, label, confidence, votes}) => node('li', {},
    picture ? node('img', {src: picture, alt: `Picture ${object}`, loading: 'lazy'}) : null,
    node('p', {}, `${object}: known as ${worded(question, known)}; the label is ${worded(question, label)}, ${percent(confidence)} sure`),
    node('p', {class: 'soft'}, Object.entries(votes).map(([what, count]) => `${what} ${count}`).join(' · ')))));
}

function worded(question, answer) {
  if (!question) return answer;
  return answer === 'yes' ? question : `not ${question}`;
}
