// The preview of a worker page: line by line, with what is wrong and what an answer would be. Nothing is sent.

import {byId, node} from '/static/nodes.js';

const state = {line: Number(new URLSearchParams(window.location.search).get('line') ?? 1) || 1, total: 1, nonce: ''};
const frame = byId('page');

async function show(line) {
  try {
    const response = await fetch(`line/${line}`, {cache: 'no-store'});
    const said = await response.json();
    if (!response.ok) throw new Error(said.error);
    Object.assign(state, {line, total: said.total, nonce: said.nonce});
    draw(said);
    tell('');
  } catch (error) {
    tell(error.message);
  }
}

function tell(sentence) {
  byId('trouble').hidden = !sentence;
  byId('trouble').textContent = sentence;
}

function draw(said) {
  document.title = `Preview of ${said.template}`;
  byId('title').textContent = said.template;
  byId('line').value = state.line;
  byId('line').max = state.total;
  byId('total').textContent = `of ${said.total} in ${said.manifest}`;
  byId('previous').disabled = state.line <= 1;
  byId('next').disabled = state.line >= state.total;
  byId('record').textContent = JSON.stringify(said.record, null, 2);
  byId('problems').replaceChildren(...(said.problems.length ? said.problems.map(problemOf)
    : [node('li', {class: 'soft'}, 'Nothing is wrong with it.')]));
  byId('answer').hidden = true;
  byId('verdict').textContent = 'Submit the page, and what would be stored stands here. Nothing is sent.';
  frame.contentWindow.location.replace(said.frame);
}

function problemOf({severity, line, sentence, code}) {
  const place = line === null ? '' : `line ${line}, `;
  return node('li', {class: severity}, node('strong', {}, severity), ` ${place}${code}: ${sentence}`);
}

/** Ground Truth stores the answer as a text, with its keys in their order. */
async function answered(answer) {
  byId('answer').hidden = false;
  byId('answer').textContent = `${JSON.stringify(answer, null, 2)}\n\nannotationData.content\n${JSON.stringify(JSON.stringify(answer))}`;
  try {
    const response = await fetch('check', {method: 'POST', body: JSON.stringify(answer)});
    const {refused} = await response.json();
    byId('verdict').textContent = refused ? `It would be refused: ${refused}.` : 'This would be stored:';
  } catch (error) {
    tell(error.message);
  }
}

window.addEventListener('message', (event) => {
  const said = event.data;
  if (event.source !== frame.contentWindow || said?.nonce !== state.nonce) return;
  const post = (type, content = {}) => frame.contentWindow.postMessage({type: `gtlabel:${type}`, nonce: state.nonce, ...content}, '*');
  if (said.type === 'gtlabel:ready') {
    post('settings', {fast: false, hotkeys: true});
    post('show');
  }
  if (said.type === 'gtlabel:submit') answered(said.answer);
  if (said.type === 'gtlabel:link') tell(`The shell of workers asks before it opens ${said.href}; here nothing opens.`);
});

function widen(isPhone) {
  byId('stage').classList.toggle('phone', isPhone);
  byId('phone').setAttribute('aria-pressed', String(isPhone));
  byId('desktop').setAttribute('aria-pressed', String(!isPhone));
}

byId('previous').onclick = () => show(state.line - 1);
byId('next').onclick = () => show(state.line + 1);
byId('reload').onclick = () => show(state.line);
byId('phone').onclick = () => widen(true);
byId('desktop').onclick = () => widen(false);
byId('lines').onsubmit = (event) => {
  event.preventDefault();
  show(Number(byId('line').value));
};
byId('line').onchange = () => byId('line').reportValidity() && show(Number(byId('line').value));

show(state.line);
