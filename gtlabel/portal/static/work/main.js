// The shell around tasks: it leases ahead, shows, sends answers, and takes the last ones back.

import {call, get, isPassing} from '/static/api.js';
import {byId} from '/static/nodes.js';
import {minutes, Stopwatch} from '/static/work/clock.js';
import {afterPaint, Frames} from '/static/work/frames.js';
import {Outbox} from '/static/work/outbox.js';
import {chip, notice, tellTrouble} from '/static/work/signs.js';

const AHEAD = 2;
const UNDOABLE = 10;
const UNDO_MILLISECONDS = 30_000;
const WARN_SECONDS = 30;
// A task that came so short a while ago has its time still before it.
const FRESH_MILLISECONDS = 3_000;
const LOOK_AGAIN_MILLISECONDS = 3_000;
const COUNT_MILLISECONDS = 20_000;
const LONGEST_ANSWER = 1_000_000;
const LONGEST_LINK = 2_000;

const job = Number(window.location.pathname.split('/')[2]);
const settings = {fast: false, hotkeys: true, ...JSON.parse(localStorage.getItem('gtlabel') ?? '{}')};
// The tasks in this browser's hands: the first is on show, the second is loaded behind it.
const line = [];
const answered = [];
const state = {done: 0, began: performance.now(), left: null, isLeasing: false, hasEnded: false};
const outbox = new Outbox(tellTrouble);
const frames = new Frames([byId('frame-0'), byId('frame-1')], hear, settings);

function taskOf(said, leasedAt) {
  return {...said, offset: Date.parse(said.now) - Date.now(), leasedAt, stopwatch: null};
}

/** Does what may wait until the page on show is painted; without one there is nothing to wait for. */
function aside(work) {
  if (line.length) afterPaint(work);
  else work();
}

/** Leases until enough tasks are at hand. */
async function fetchMore() {
  if (state.hasEnded) tellNothing();
  if (state.isLeasing || state.hasEnded) return;
  state.isLeasing = true;
  try {
    while (line.length < AHEAD) {
      const said = await call('lease', {job});
      wellAgain();
      if (!said.lease) {
        nothingMore(said);
        break;
      }
      take(said);
    }
  } catch (error) {
    if (isPassing(error)) {
      tellTrouble(outbox.waiting, error);
      state.isTroubled = true;
      lookAgain();
    } else if (!line.length) {
      notice('This job cannot be worked on', error.message);
    }
  } finally {
    state.isLeasing = false;
  }
}

/** Asks for tasks in a while, however many wanted that. */
function lookAgain() {
  clearTimeout(state.lookTimer);
  state.lookTimer = setTimeout(fetchMore, LOOK_AGAIN_MILLISECONDS);
}

/** The server gives tasks again; answers that still wait tell of themselves. */
function wellAgain() {
  if (state.isTroubled && !outbox.waiting) tellTrouble(0);
  state.isTroubled = false;
}

function take(said, leasedAt = performance.now()) {
  if (line.some((task) => task.lease === said.lease)) return;
  if (said.job_name) byId('title').textContent = document.title = said.title || said.job_name;
  line.push(taskOf(said, leasedAt));
  arrange();
}

function nothingMore(said) {
  state.left = 0;
  state.hasEnded = !['Initializing', 'InProgress'].includes(said.job_status);
  if (!state.hasEnded) lookAgain();
  else if (line.length) giveUp();
  tellNothing();
}

/** Of a job that has ended no answer counts any more. */
function giveUp() {
  for (const task of line.splice(0)) task.stopwatch?.stop();
  closeDialogs();
  arrange();
}

function tellNothing() {
  if (line.length) return;
  if (state.hasEnded) notice('This job is done', 'Thank you. There is nothing left to do here.');
  else notice('Nothing to do now', 'The other pictures are with others. This page looks again by itself.');
}

function arrange() {
  frames.arrange(line);
  const [current] = line;
  for (const id of ['decline', 'release', 'stop']) byId(id).disabled = !current;
  byId('undo').disabled = !settings.fast || !answered.length;
  if (!current) return;
  byId('notice').hidden = true;
  byId('clock').hidden = false;
  if (!current.stopwatch) begin(current);
  drawProgress();
}

/** A task is on show for the first time: its time begins now, however long it waited behind another. */
function begin(task) {
  task.stopwatch = new Stopwatch();
  const isFresh = performance.now() - task.leasedAt < FRESH_MILLISECONDS;
  if (!isFresh && (task.isAhead ?? state.done > 0)) aside(() => line.includes(task) && extend(task));
}

async function extend(task) {
  try {
    const {expires} = await call('heartbeat', {lease: task.lease});
    task.expires = expires;
  } catch (error) {
    if (!isPassing(error)) lose(task, error.message);
  }
}

/** A task that is not in our hands any more. */
function lose(task, sentence) {
  remove(task);
  chip(sentence);
}

function remove(task) {
  const place = line.indexOf(task);
  if (place >= 0) line.splice(place, 1);
  task.stopwatch?.stop();
  closeDialogs();
  arrange();
  fetchMore();
}

function closeDialogs() {
  for (const id of ['warning', 'confirm']) if (byId(id).open) byId(id).close();
}

function hear(task, said) {
  if (said.type === 'submit' && task === line[0]) receive(task, said.answer);
  if (said.type === 'image' && !said.ok && task === line[0]) chip('The picture cannot be shown.');
  if (said.type === 'key' && task === line[0]) press(said.key);
  if (said.type === 'link' && task === line[0]) follow(task, said.href);
}

/** What no server would take is told at once: sent, it would stand in the way of all that comes after it. */
function receive(task, answer) {
  let text;
  try {
    text = JSON.stringify(answer);
  } catch {
    // It leads back into itself, or holds a number that JSON has no word for.
  }
  if (!text?.startsWith('{') || text.length > LONGEST_ANSWER) chip('This page gave an answer that cannot be stored.');
  else submit(task, JSON.parse(text));
}

function submit(task, answer) {
  line.shift();
  const seconds = task.stopwatch.stop();
  const isRevision = Boolean(task.answer);
  const hold = settings.fast;
  const body = {lease: task.lease, answer, active_seconds: seconds, ...(isRevision ? {} : hold ? {hold} : {next: true})};
  chip(spoken(answer) ?? 'Submitted');
  if (hold) remember({...task, answer, stopwatch: null, answeredAt: Date.now()});
  if (!isRevision) state.done++;
  if (state.left && !isRevision) state.left--;
  arrange();
  outbox.send(isRevision ? 'revise' : 'submit', body).then(({next}) => {
    aside(() => {
      // Where there is none it was not asked why; asking for one tells.
      if (next?.lease) take(next);
      fetchMore();
    });
  }).catch((error) => {
    chip(error.message);
    fetchMore();
  });
  aside(fetchMore);
}

/** What an answer says, in a word, to be seen for a moment. */
function spoken(answer) {
  for (const value of Object.values(answer)) {
    if (typeof value?.label === 'string') return value.label;
    if (Array.isArray(value?.labels)) return value.labels.join(', ') || 'None';
  }
  return null;
}

function remember(task) {
  answered.push(task);
  if (answered.length > UNDOABLE) answered.shift();
}

function undo() {
  const task = answered.pop();
  if (!task || !settings.fast) return;
  if (Date.now() - task.answeredAt > UNDO_MILLISECONDS) {
    answered.length = 0;
    chip('It is too late to take that back');
    arrange();
    return;
  }
  line.unshift({...task, isAhead: false});
  arrange();
}

function press(key) {
  if (key === 'u' || key === 'Backspace') undo();
  if (key === '?') byId('options').showModal();
}

/**
 * Links of a task page open here, beside it, and nowhere near our pages. The page may not be what it seems, so a
 * worker must have pressed something, and reads where the link leads before anybody there hears of it.
 */
function follow(task, href) {
  if (!/^https?:/i.test(href) || href.length > LONGEST_LINK || !URL.canParse(href)) return;
  const {host, origin} = new URL(href);
  if (origin === window.location.origin) return;
  const isMeant = navigator.userActivation?.isActive ?? true;
  if (!isMeant || task.isOffLimits || document.querySelector('dialog[open]')) return;
  ask(`Open a page of ${host}?`, href, 'Open', () => window.open(href, '_blank', 'noopener,noreferrer'), () => {
    task.isOffLimits = true;
  });
}

function drawProgress() {
  const pace = state.done / ((performance.now() - state.began) / 60_000);
  const parts = [`${state.done} done`];
  if (state.done > 2) parts.push(`${Math.round(pace)} a minute`);
  if (state.left !== null) parts.push(`${state.left} to go`);
  byId('progress').textContent = parts.join(' · ');
}

function tick() {
  const [task] = line;
  if (!task) return;
  frames.revive();
  const left = (Date.parse(task.expires) - Date.now() - task.offset) / 1000;
  byId('left').textContent = minutes(left);
  byId('clock').classList.toggle('short', left <= WARN_SECONDS);
  if (left <= 0) lose(task, 'The time for this task was up; somebody else gets it.');
  else if (left <= WARN_SECONDS && !byId('warning').open && !task.isWarned) {
    task.isWarned = true;
    byId('warning').showModal();
  }
}

const GIVING_BACK = {
  decline: ['Decline this task?', 'Something is wrong with it, and you will not see it again.', 'Decline'],
  release: ['Release this task?', 'It goes back to everybody. What you did on it is lost.', 'Release'],
  stop: ['Stop and resume later?', 'The task stays yours until its time is up. Find it in the list of jobs.', 'Stop'],
};

/** Asks before something happens. */
function ask(title, text, word, agreed, refused = () => {}) {
  const dialog = byId('confirm');
  byId('confirm-title').textContent = title;
  byId('confirm-text').textContent = text;
  byId('confirm-yes').textContent = word;
  dialog.returnValue = '';
  dialog.onclose = () => {
    frames.focus();
    (dialog.returnValue === 'yes' ? agreed : refused)();
  };
  dialog.showModal();
}

function giveBack(action) {
  const [task] = line;
  ask(...GIVING_BACK[action], async () => {
    if (task !== line[0]) return;
    remove(task);
    await outbox.send(action, {lease: task.lease}).catch((error) => chip(error.message));
    if (action === 'stop') window.location.assign('/');
  });
}

/** Tasks that nobody looked at go back at once. */
function leave() {
  for (const task of line.splice(0)) {
    if (task.answer) continue;
    call('release', {lease: task.lease}, {keepalive: true}).catch(() => {});
  }
}

/** A page that comes while a dialog is open takes the keyboard, though nobody can see that: the dialog gets it back. */
function keepDialog() {
  if (document.activeElement?.localName !== 'iframe') return;
  const dialog = document.querySelector('dialog[open]');
  (dialog?.querySelector('[autofocus]') ?? dialog?.querySelector('button, input'))?.focus();
}

function connect() {
  byId('undo').onclick = undo;
  for (const action of Object.keys(GIVING_BACK)) byId(action).onclick = () => giveBack(action);
  byId('extend').onclick = () => {
    byId('warning').close();
    if (line[0]) {
      line[0].isWarned = false;
      extend(line[0]);
    }
  };
  byId('warning').onclose = () => frames.focus();
  // In the middle of going, the keyboard goes nowhere else.
  window.addEventListener('blur', () => setTimeout(keepDialog));
  byId('settings').onclick = () => byId('options').showModal();
  byId('options').onclose = () => frames.focus();
  for (const name of ['fast', 'hotkeys']) {
    byId(name).checked = settings[name];
    byId(name).onchange = () => {
      settings[name] = byId(name).checked;
      localStorage.setItem('gtlabel', JSON.stringify(settings));
      frames.set(settings);
      arrange();
    };
  }
  document.addEventListener('keydown', (event) => {
    const isPlain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat;
    const isFree = ['BODY', 'IFRAME', 'BUTTON', 'A'].includes(event.target.tagName);
    if (settings.hotkeys && isPlain && isFree && !document.querySelector('dialog[open]')) press(event.key);
  });
  window.addEventListener('pagehide', leave);
  // A page that comes back from the browser's memory gave its tasks away.
  window.addEventListener('pageshow', (event) => event.persisted && window.location.reload());
  setInterval(tick, 1000);
  setInterval(() => document.hidden || count(), COUNT_MILLISECONDS);
}

/** How many pictures are left for this worker, which others change, too. */
async function count() {
  try {
    const {jobs} = await get('/api/me');
    state.left = jobs.find(({number}) => number === job)?.left ?? 0;
    drawProgress();
  } catch (error) {
    if (!isPassing(error)) throw error;
  }
}

/** Goes on with the tasks that were in our hands when the page was left. */
async function start() {
  try {
    const {tasks} = await get(`/api/held/${job}`);
    for (const said of tasks) take(said, -Infinity);
    wellAgain();
  } catch (error) {
    if (!isPassing(error)) {
      notice('This job cannot be worked on', error.message);
      return;
    }
    tellTrouble(0, error);
    state.isTroubled = true;
    setTimeout(start, LOOK_AGAIN_MILLISECONDS);
    return;
  }
  await Promise.all([fetchMore(), count()]);
}

connect();
start();
