// Who may come in: invites, and an end to them.

import {call, get} from '/static/api.js';
import {byId, node} from '/static/nodes.js';

function tell(error) {
  byId('trouble').textContent = error?.message ?? '';
}

/** Shows a link that works once; it is nowhere to be seen again. */
function show({name, link}) {
  const text = node('code', {}, link);
  const copy = node('button', {type: 'button', onclick: async () => {
    await navigator.clipboard.writeText(link);
    copy.textContent = 'Copied';
  }}, 'Copy');
  byId('link').hidden = false;
  byId('link').replaceChildren(`Send this to ${name}; it works once, within three days: `, text, ' ', copy);
}

async function change(person, what) {
  try {
    const said = await call(`owner/people/${encodeURIComponent(person.name)}/${what}`);
    tell(null);
    if (said.link) show(said);
    await refresh();
  } catch (error) {
    tell(error);
  }
}

function rowOf(person) {
  const button = (text, what) => node('button',
    {type: 'button', 'aria-label': `${text} ${person.name}`, onclick: () => change(person, what)}, text);
  const actions = person.active
    ? [button('Invite', 'invite'), button('Sign out', 'sign-out'), button('Deactivate', 'deactivate')]
    : [button('Activate', 'activate')];
  return node('tr', {}, node('td', {}, person.name), node('td', {}, person.role),
    node('td', {}, person.groups.join(', ')), node('td', {}, person.active ? 'active' : 'deactivated'),
    node('td', {}, node('div', {class: 'row'}, ...actions)));
}

async function refresh() {
  const {people} = await get('/api/owner/people');
  byId('people').tBodies[0].replaceChildren(...people.map(rowOf));
}

byId('invite').onsubmit = async (event) => {
  event.preventDefault();
  const form = event.target;
  try {
    show(await call('owner/people', Object.fromEntries(new FormData(form))));
    tell(null);
    form.elements.name.value = '';
    await refresh();
  } catch (error) {
    tell(error);
  }
};

refresh().catch(tell);
