// What is in sight and what the user chose, for all modules of the page.

import { lower } from './data.js';

export const MORE_ROWS = 50;
export const LONGEST = 12e3; // bytes of a URL's query

export const state = {
  search: '', found: '', range: 60e3, zoom: null, drag: null, open: '', series: null, by: '', limit: MORE_ROWS,
  order: 'name', self: false, tab: 'metrics', paused: false, cursor: null, now: 0, frame: null, names: [],
};
export const families = new Map();
export const cards = new Map();
export const inSight = new Set(); // cards and rows

// What `page.js` does for the others.
export const act = {};

// The words of a search: of the one that the last frame answers. The service takes eight.
export const words = (search = state.found) => [...new Set(lower(search.slice(0, 200)).split(/\s+/).filter(Boolean))].slice(0, 8);

// The time range that the charts show.
export const span = () => state.zoom ?? [state.now - state.range, state.now];

// The time whose figures are shown.
export const moment = () => state.cursor ?? span()[1];

// An element with classes, as in `make('p.help', …)`, and its children: elements and texts.
export function make(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split('.');
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(' ');
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

// A name that may be broken where its words end.
export const broken = (name) => name.split(/(?<=[_:.])/).flatMap((part, i) => (i ? [make('wbr'), part] : [part]));

export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function flag(element, name, on) {
  element.classList.toggle(name, Boolean(on));
}

// Puts elements in this order, without moving those that are in place.
export function place(parent, elements) {
  let at = parent.firstElementChild;
  for (const element of elements) {
    if (at === element) at = at.nextElementSibling;
    else parent.insertBefore(element, at);
  }
}
