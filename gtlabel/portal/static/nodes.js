// Nodes made of data: text never becomes markup.

export function node(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A part of a drawing; the page's policy wants looks in classes, not in styles. */
export function shape(tag, attributes = {}, ...children) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export const byId = (id) => document.getElementById(id);

/** A share as per cent; a dash where there is none. The sign stays beside its number. */
export function percent(share, digits = 0) {
  return share === null || share === undefined ? '–' : `${(share * 100).toFixed(digits)}\u00a0%`;
}

/** A share with its interval, such as 87 % (74 to 95 %). */
export function spread({value, low, high}, digits = 0) {
  return `${percent(value, digits)} (${(low * 100).toFixed(digits)} to ${percent(high, digits)})`;
}

/** A number of things, such as 1 picture or 2 pictures. */
export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString('en-US')} ${count === 1 ? one : many}`;
}

/** How long ago a moment was. */
export function ago(moment) {
  const seconds = Math.max(0, (Date.now() - Date.parse(moment)) / 1000);
  if (seconds < 90) return `${Math.round(seconds)}\u00a0s\u00a0ago`;
  if (seconds < 5400) return `${Math.round(seconds / 60)}\u00a0min\u00a0ago`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)}\u00a0h\u00a0ago`;
  return `${Math.round(seconds / 86400)}\u00a0days\u00a0ago`;
}
