// Figures with their intervals.

import {node} from '/static/nodes.js';

/** A figure with its interval as a cell, drawn as a line from 0 to 1 as well. */
export function range(found, text) {
  if (!found) return node('td', {}, '–');
  const line = node('span', {class: 'range', 'aria-hidden': 'true'});
  const inside = node('span', {class: 'inside'});
  const mark = node('span', {class: 'mark'});
  const at = (value) => `${Math.min(100, Math.max(0, value * 100))}%`;
  inside.style.left = at(found.low);
  inside.style.right = `calc(100% - ${at(found.high)})`;
  mark.style.left = at(found.value);
  line.append(inside, mark);
  return node('td', {class: 'ranged'}, node('span', {class: 'figure'}, text(found)), line);
}

/** A figure that is no share, such as 0.52 (0.48 to 0.55). */
export function plain({value, low, high}) {
  return `${value.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
}
