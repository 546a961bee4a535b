// The portal's API: JSON over POST, with the header that no foreign page can send.

/** What the server answered in place of a result: `status` and its sentence. */
export class Refusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

/** Whether the session is over; somebody can sign in again in another tab. */
export function isSignedOut(error) {
  return error instanceof Refusal && error.status === 401;
}

/** Whether asking again may help: the server is away, cannot write just now, or does not know us any more. */
export function isPassing(error) {
  return !(error instanceof Refusal) || error.status >= 500 || [401, 429].includes(error.status);
}

/** Asks for something to be done; `action` is what follows `/api/`. */
export async function call(action, body = {}, options = {}) {
  const response = await reached(fetch(`/api/${action}`, {
    method: 'POST',
    headers: {'Content-Type': 'application/json', 'X-Gtlabel': '1'},
    body: JSON.stringify(body),
    credentials: 'same-origin',
    ...options,
  }));
  return understood(response);
}

export async function get(path) {
  const options = {headers: {'X-Gtlabel': '1'}, credentials: 'same-origin', cache: 'no-store'};
  return understood(await reached(fetch(path, options)));
}

/** A sentence about what went wrong; the browser has none for a server that is away. */
async function reached(request) {
  try {
    return await request;
  } catch {
    throw new Error('The server cannot be reached.');
  }
}

async function understood(response) {
  const said = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refusal(response.status, said.error ?? `The server answered ${response.status}.`);
  return said;
}
