// What a machine labels: the promise, the baseline it is compared with, and what people found who looked after.

import {byId, node} from '/static/nodes.js';

// A promise of 99.5 % is none of 100 %.
const share = (part) => `${Math.round(part * 1000) / 10}\u00a0%`;

/** What the engine says of objects of any kind, as these pages say it of pictures. */
function sentence(text) {
  const said = text.replace(/\bobject(s?)\b/g, 'picture$1').replace(/(\d)%/g, '$1\u00a0%');
  return `${said.charAt(0).toUpperCase()}${said.slice(1)}.`;
}

/** @param {?Object} told as gtlabel.engine.automationfiles.facts_of says; null where people label everything. */
export function drawAutomation(told) {
  byId('automation').hidden = !told;
  if (!told) return;
  byId('automation-state').textContent = told.machine_labeled
    ? `A machine labeled ${told.machine_labeled}, people ${told.people_labeled}.`
    : `People labeled ${told.people_labeled}; no label is a machine's.`;
  byId('automation-facts').replaceChildren(...facts(told).flatMap(([name, said]) =>
    [node('dt', {}, name), node('dd', {}, said)]));
  byId('automation-rounds').tBodies[0].replaceChildren(...told.rounds.map((each) => node('tr', {},
    ...[each.round, each.people_had_labeled, each.people_asked, each.audited || '–', each.promised ?? '–']
      .map((value) => node('td', {class: 'number'}, String(value))))));
}

function facts(told) {
  const {promise, baseline, audit} = told;
  const notes = told.notes.map((note) => ['Note', sentence(note)]);
  if (!promise) return [['Promise', sentence(told.why)], ...notes];
  const found = [['Promise', `At least ${share(promise.precision)} of the machine's labels are right, except with a risk `
    + `of ${share(promise.risk)}. Of ${promise.sample} pictures like these that people labeled, chosen at random, `
    + `it had ${promise.wrong} wrong.`]];
  if (baseline) {
    found.push(['Baseline', `From the ${baseline.people} pictures chosen at random alone, a machine would have labeled `
      + `${baseline.promised}, and not ${baseline.instead_of}.`]);
  }
  found.push(['Audit', audit ? sentence(audit.why) : 'People have not looked at its labels yet.']);
  if (told.withdrawn) found.push(['Verdict', 'The machine\'s labels were taken back, and people label these pictures too.']);
  return [...found, ...notes];
}
