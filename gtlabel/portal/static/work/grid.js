// Many pictures at once: each has a class already, the exceptions are marked, and all are submitted together.

import {call, get, isPassing} from '/static/api.js';
import {byId, node} from '/static/nodes.js';
import {minutes, Stopwatch} from '/static/work/clock.js';
import {Outbox} from '/static/work/outbox.js';
import {chip, notice, tellTrouble} from '/static/work/signs.js';
import {Tile} from '/static/work/tile.js';

const FULL = 24;
// So many requests at once: the server writes them down together.
const LANES = 6;
const WARN_SECONDS = 30;
const LOOK_AGAIN_MILLISECONDS = 3_000;
// Whoever presses Enter twice has not looked at the second page.
const DWELL_MILLISECONDS = 400;
const DIGITS = '1234567890';

const job = Number(window.location.pathname.split('/')[2]);
const settings = {hotkeys: true, ...JSON.parse(localStorage.getItem('gtlabel') ?? '{}')};
const outbox = new Outbox(tellTrouble);
const state = {tiles: [], classes: [], usual: null, at: 0, done: 0, stopwatch: new Stopwatch(), submittedAt: -Infinity, isFilling: false};

/** Leases until the page is full or there is nothing more. */
async function fill() {
  if (state.isFilling) return;
  state.isFilling = true;
  clearTimeout(state.timer);
  const before = state.tiles.length;
  let last = null;
  try {
    const wanted = FULL - state.tiles.length;
    const lanes = Array.from({length: Math.min(LANES, wanted)}, (_, lane) => take(Math.ceil((wanted - lane) / LANES)));
    last = (await Promise.all(lanes)).find(Boolean) ?? null;
    if (!outbox.waiting) tellTrouble(0);
  } catch (error) {
    if (isPassing(error)) tellTrouble(outbox.waiting, error);
    else if (!state.tiles.length) notice('This job cannot be worked on', error.message);
    if (isPassing(error)) state.timer = setTimeout(fill, LOOK_AGAIN_MILLISECONDS);
  } finally {
    state.isFilling = false;
  }
  // Tiles that are put anew lose the keyboard.
  if (state.tiles.length > before) arrange();
  if (last) nothingMore(last);
}

/** Leases a few tasks one after another; gives back the answer that there are none. */
async function take(count) {
  for (let taken = 0; taken < count; taken++) {
    const said = await call('lease', {job, view: 'grid'});
    if (!said.lease) return said;
    add(said);
  }
  return null;
}

function add(said) {
  if (state.tiles.some(({task}) => task.lease === said.lease)) return;
  byId('title').textContent = said.title;
  document.title = said.title;
  if (!state.classes.length) learn(said.classes);
  const tile = new Tile({...said, offset: Date.parse(said.now) - Date.now()}, {changed: draw, enlarge});
  tile.presume(state.usual);
  state.tiles.push(tile);
}

/** The classes of the job are known with its first task. */
function learn(classes) {
  state.classes = classes;
  state.usual = classes.includes(settings[`usual-${job}`]) ? settings[`usual-${job}`] : classes[0];
  byId('usual').replaceChildren(...classes.map((name) => node('option', {value: name}, name)));
  byId('usual').value = state.usual;
  byId('digits').textContent = classes.slice(0, DIGITS.length).map((name, place) => `${DIGITS[place]} ${name}`).join(', ');
}

function nothingMore(said) {
  const hasEnded = !['Initializing', 'InProgress'].includes(said.job_status);
  if (!hasEnded) state.timer = setTimeout(fill, LOOK_AGAIN_MILLISECONDS);
  if (state.tiles.length) return;
  if (hasEnded) notice('This job is done', 'Thank you. There is nothing left to do here.');
  else notice('Nothing to do now', 'The other pictures are with others. This page looks again by itself.');
}

/** Puts the tiles on the page, those of one presumed class together. */
function arrange() {
  const groups = new Map();
  for (const tile of state.tiles) groups.set(tile.preset, [...(groups.get(tile.preset) ?? []), tile]);
  state.tiles = [...groups.values()].flat();
  const hasHeads = groups.size > 1 || state.tiles.some((tile) => tile.hasOwnPreset);
  const sections = [...groups].map(([name, tiles], place) => {
    const head = node('h2', {id: `group-${place}`, hidden: !hasHeads}, `${name} (${tiles.length})`);
    const list = node('ul', {class: 'tiles-grid', 'aria-labelledby': `group-${place}`}, ...tiles.map((tile) => tile.element));
    return node('section', {}, head, list);
  });
  byId('groups').replaceChildren(...sections);
  byId('usual-label').hidden = state.tiles.every((tile) => tile.hasOwnPreset);
  byId('commit').disabled = !state.tiles.length;
  if (!state.tiles.length) return;
  byId('notice').hidden = true;
  byId('clock').hidden = false;
  go(Math.min(state.at, state.tiles.length - 1), document.activeElement === document.body);
  draw();
}

function draw() {
  state.tiles.forEach((tile, place) => tile.draw(place + 1));
  const marked = state.tiles.filter((tile) => tile.isMarked).length;
  const open = state.tiles.filter((tile) => tile.choice === null).length;
  byId('count').textContent = String(state.tiles.filter((tile) => tile.isDecided).length);
  const staying = open === 1 ? '1 marked picture without a class stays here.' : `${open} marked pictures without a class stay here.`;
  byId('hint').textContent = open ? staying : `${marked} of ${state.tiles.length} marked.`;
  byId('progress').textContent = `${state.done} done`;
}

function go(place, hasFocus = true) {
  state.at = place;
  state.tiles.forEach((tile, other) => tile.stop(other === place));
  if (hasFocus) state.tiles[place]?.pick.focus();
}

/** The tile that is above or below: of the next row, the one that is nearest. */
function beside(direction) {
  const here = state.tiles[state.at].element.getBoundingClientRect();
  const boxes = state.tiles.map((tile) => tile.element.getBoundingClientRect());
  const rows = boxes.map(({top}) => (top - here.top) * direction).filter((far) => far > 1);
  const row = Math.min(...rows);
  const inRow = boxes.map((box, place) => [Math.abs(box.left - here.left), place])
    .filter(([, place]) => Math.abs((boxes[place].top - here.top) * direction - row) < 1);
  return rows.length ? inRow.sort(([one], [other]) => one - other)[0][1] : state.at;
}

function submit() {
  if (performance.now() - state.submittedAt < DWELL_MILLISECONDS) return;
  const decided = state.tiles.filter((tile) => tile.isDecided);
  if (!decided.length) {
    chip('Nothing can be submitted yet');
    return;
  }
  const seconds = Math.round((state.stopwatch.stop() / decided.length) * 1000) / 1000;
  decided.forEach((tile, place) => {
    const answer = {'crowd-image-classifier': {label: tile.choice}};
    outbox.send('submit', {lease: tile.task.lease, answer, active_seconds: seconds}, place % LANES)
      .catch((error) => chip(error.message));
  });
  state.done += decided.length;
  state.tiles = state.tiles.filter((tile) => !decided.includes(tile));
  state.stopwatch = new Stopwatch();
  state.submittedAt = performance.now();
  state.at = 0;
  chip(`${decided.length} submitted`);
  arrange();
  fill();
}

function enlarge(tile) {
  byId('large-title').textContent = `Picture ${state.tiles.indexOf(tile) + 1}: ${tile.choice ?? 'no class chosen'}`;
  byId('large-picture').src = tile.task.picture;
  byId('large').onclose = () => tile.pick.focus();
  byId('large').showModal();
}

const KEYS = {
  ArrowRight: () => go(Math.min(state.at + 1, state.tiles.length - 1)),
  ArrowLeft: () => go(Math.max(state.at - 1, 0)),
  ArrowDown: () => go(beside(1)),
  ArrowUp: () => go(beside(-1)),
  Home: () => go(0),
  End: () => go(state.tiles.length - 1),
  Enter: submit,
  ' ': () => state.tiles[state.at].toggle(),
  z: () => enlarge(state.tiles[state.at]),
  '?': () => byId('options').showModal(),
};

function press(event) {
  const isModified = event.ctrlKey || event.metaKey || event.altKey;
  const isElsewhere = ['SELECT', 'INPUT', 'A'].includes(event.target.tagName);
  // On any other button Enter and space do what that button does.
  const isOtherButton = event.target.tagName === 'BUTTON' && !event.target.classList.contains('pick');
  if (isModified || isElsewhere || document.querySelector('dialog[open]') || !state.tiles.length) return;
  if (isOtherButton && ['Enter', ' '].includes(event.key)) return;
  const isSingle = event.key.length === 1 && event.key !== ' ';
  if (isSingle && !settings.hotkeys || event.repeat && !event.key.startsWith('Arrow')) return;
  const digit = DIGITS.indexOf(event.key);
  if (digit >= 0 && digit < state.classes.length) state.tiles[state.at].choose(state.classes[digit]);
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
}

function tick() {
  const ends = state.tiles.map(({task}) => Date.parse(task.expires) - task.offset);
  if (!ends.length) return;
  const left = (Math.min(...ends) - Date.now()) / 1000;
  byId('left').textContent = minutes(left);
  byId('clock').classList.toggle('short', left <= WARN_SECONDS);
  if (left <= 0) {
    state.tiles = state.tiles.filter(({task}) => Date.parse(task.expires) - task.offset > Date.now());
    if (byId('warning').open) byId('warning').close();
    chip('The time for some pictures was up; somebody else gets them.');
    arrange();
    fill();
  } else if (left <= WARN_SECONDS && !byId('warning').open && !state.isWarned) {
    state.isWarned = true;
    byId('warning').showModal();
  }
}

async function extend() {
  byId('warning').close();
  state.isWarned = false;
  await Promise.all(state.tiles.map(async ({task}) => {
    try {
      task.expires = (await call('heartbeat', {lease: task.lease})).expires;
    } catch (error) {
      if (!isPassing(error)) chip(error.message);
    }
  }));
}

function save() {
  localStorage.setItem('gtlabel', JSON.stringify(settings));
}

function connect() {
  byId('single').href = `/work/${job}`;
  byId('commit').onclick = submit;
  byId('help').onclick = () => byId('options').showModal();
  byId('extend').onclick = extend;
  byId('usual').onchange = () => {
    state.usual = byId('usual').value;
    settings[`usual-${job}`] = state.usual;
    save();
    for (const tile of state.tiles) tile.presume(state.usual);
    arrange();
  };
  byId('hotkeys').checked = settings.hotkeys;
  byId('hotkeys').onchange = () => {
    settings.hotkeys = byId('hotkeys').checked;
    save();
  };
  byId('task-page').onclick = () => {
    if (!state.tiles.length) return;
    byId('options').close();
    byId('page').contentWindow.location.replace(`/frame/${encodeURIComponent(state.tiles[0].task.lease)}`);
    byId('instructions').showModal();
  };
  byId('groups').addEventListener('focusin', (event) => {
    const place = state.tiles.findIndex((tile) => tile.element.contains(event.target));
    if (place >= 0 && place !== state.at) go(place, false);
  });
  document.addEventListener('keydown', press);
  window.addEventListener('pagehide', () => {
    for (const {task} of state.tiles.splice(0)) call('release', {lease: task.lease}, {keepalive: true}).catch(() => {});
  });
  window.addEventListener('pageshow', (event) => event.persisted && window.location.reload());
  setInterval(tick, 1000);
}

async function start() {
  try {
    const {tasks} = await get(`/api/held/${job}?view=grid`);
    tasks.slice(0, FULL).forEach(add);
    if (tasks.length) arrange();
    await fill();
  } catch (error) {
    if (!isPassing(error)) notice('This job cannot be worked on', error.message);
    tellTrouble(0, isPassing(error) ? error : null);
    if (isPassing(error)) setTimeout(start, LOOK_AGAIN_MILLISECONDS);
  }
}

connect();
start();
