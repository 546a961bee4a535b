// The portal's API: JSON over POST, with the header that no foreign page can send.

/** What the server answered in place of a result: `status` and its sentence. */
export class Refusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** Whether asking again may help: the server is away or cannot write just now. */
export function isPassing(error) {
  return !(error instanceof Refusal) || error.status >= 500;
}

/** Asks for something to be done; `action` is what follows `/api/`. */
export async function call(action, body = {}, options = {}) {
  const response = await fetch(`/api/${action}`, {
    method: 'POST',
    headers: {'Content-Type': 'application/json', 'X-Gtlabel': '1'},
    body: JSON.stringify(body),
    credentials: 'same-origin',
    ...options,
  });
  return understood(response);
}

export async function get(path) {
  return understood(await fetch(path, {headers: {'X-Gtlabel': '1'}, credentials: 'same-origin', cache: 'no-store'}));
}

async function understood(response) {
  if (response.status === 401) {
    window.location.assign('/');
    throw new Refusal(401, 'You are signed out.');
  }
  const said = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, said.error ?? `The server answered ${response.status}.`);
  return said;
}
