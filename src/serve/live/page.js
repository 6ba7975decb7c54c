// The live page: the stream of frames, the order of the cards, and what the user does.
//
// Texts from outside only ever become the text of an element.

import { Card } from './card.js';
import { Family, KEPT, lower } from './data.js';
import * as draw from './draw.js';
import { LONGEST, MORE_ROWS, act, broken, cards, families, flag, inSight, make, place, span, state, words, write } from './state.js';
import { ago, clock, exact, held } from './text.js';

const RANGES = [[60e3, '1 min'], [300e3, '5 min'], [900e3, '15 min'], [3600e3, '1 h']];
const SEEN = 60; // families whose series one stream has
const SETTLE = 10e3; // the order of the cards is looked at so often

const $ = (id) => document.getElementById(id);

// ---- The stream ----

const stream = { source: null, query: '', next: null, timer: 0, change: 0, failures: 0, last: 0, age: 0, lost: 0, fed: [], at: 0, skew: 0, pace: 3500 };

// A URL beside that of the page, without the password that the latter may have.
const here = (path) => new URL(path, location.origin + location.pathname).href;

// The families whose series the page wants: all, so that their history has no holes, or if they are
// too many, those in sight and the ones before.
function fed() {
  const all = state.names.map(({ name }) => name);
  if (all.length <= SEEN) return all;
  const sight = [...cards].filter(([, card]) => inSight.has(card.element)).map(([name]) => name);
  const before = stream.fed.filter((name) => all.includes(name));
  if (before.length && sight.every((name) => before.includes(name))) return before;
  return [...new Set([...sight, ...before])].slice(0, SEEN);
}

// What the page wants to get, as a query. Services reject long URLs, so that only as many families are
// in it as have room.
function wanted() {
  const query = new URLSearchParams();
  let room = LONGEST;
  const append = (name, value) => {
    room -= name.length + encodeURIComponent(value).length + 2;
    if (room > 0) query.append(name, value);
  };
  if (state.search) append('match', state.search);
  if (state.open) {
    append('open', state.open);
    append('limit', String(state.limit));
    if (state.series !== null) append('series', state.series);
    if (state.by) append('by', state.by);
  }
  stream.fed = fed();
  if (state.names.length <= SEEN) append('all', '1');
  else for (const name of stream.fed) if (name !== state.open) append('seen', name);
  return String(query);
}

// The time since when the page lacks something that it wants, if it does.
function missed() {
  if (!state.frame) return 0;
  const all = stream.fed.map((name) => families.get(name)?.fed ?? 0);
  const since = Math.min(stream.at, ...all);
  return since < Math.max(stream.at, Date.now() - stream.skew) - 4000 ? since : undefined;
}

// Begins another stream if the page wants something else. The old one goes on until the new one
// has sent something, so that no second is missing.
function update() {
  clearTimeout(stream.change);
  stream.change = setTimeout(() => {
    if (!document.hidden && state.tab === 'metrics' && (wanted() !== stream.query || !(stream.source || stream.next))) connect();
  }, 120);
}

function connect() {
  clearTimeout(stream.timer);
  stream.next?.close();
  stream.query = wanted();
  const past = missed();
  const source = (stream.next = new EventSource(here(`live/stream?${stream.query}${past === undefined ? '' : `&past=${past}`}`)));
  const [key, series] = [state.search, state.series];
  let before = [];
  source.addEventListener('past', (event) => { before = JSON.parse(event.data); });
  source.addEventListener('message', (event) => {
    if (source === stream.next) {
      stream.source?.close();
      [stream.source, stream.next] = [source, null];
      stream.failures = stream.lost = 0;
    }
    if (source !== stream.source) return;
    receive(JSON.parse(event.data), key, series, before);
    before = [];
  });
  source.addEventListener('age', (event) => {
    // The connection ends at this age: another one begins before.
    clearTimeout(stream.age);
    stream.age = setTimeout(() => { if (source === stream.source) connect(); }, Number(event.data) * 0.7);
  });
  source.addEventListener('error', () => {
    source.close();
    if (source === stream.next) stream.next = null;
    else if (source === stream.source) stream.source = null;
    else return;
    if (!stream.source) stream.lost ||= performance.now();
    if (stream.next || document.hidden) return status();
    // The page may still have the stream before, which does not send what it wants now.
    const pause = Math.min(8000, 250 * 2 ** stream.failures++);
    clearTimeout(stream.timer);
    stream.timer = setTimeout(() => { if (!document.hidden && !stream.next && state.tab === 'metrics') connect(); }, pause);
    status();
  });
}

function disconnect() {
  for (const timer of ['timer', 'change', 'age']) clearTimeout(stream[timer]);
  stream.source?.close();
  stream.next?.close();
  Object.assign(stream, { source: null, next: null, query: '', lost: 0 });
  status();
}

function receive(frame, search, series, before) {
  stream.last = performance.now();
  const t = frame.time;
  Object.assign(stream, { at: t, skew: Date.now() - t, pace: Math.max(3500, (frame.seconds ?? 0) * 2500) });
  const asked = search !== state.found;
  state.found = search;
  if (frame.names) names(frame.names, frame.families, t);
  for (const { time, seconds, was } of before) {
    for (const [name, all] of Object.entries(was)) families.get(name)?.past(time, seconds, all);
  }
  const all = words();
  state.names.forEach((family, i) => family.push(t, frame.seconds, frame.all[i], frame.found ? frame.found[i] : true, all));
  for (const [name, detail] of Object.entries(frame.seen)) families.get(name)?.detail(t, frame.seconds, detail, all, series);
  state.frame = frame;
  if (!state.paused) state.now = t;
  if (asked || frame.names || t - arrange.at > SETTLE) arrange(asked);
  if (asked || !state.paused) render();
  renderOthers();
  status();
  if (frame.names) update();
  reveal();
}

// Takes over a new list of families. One that was there before is gone; or hidden, if the list has not all.
function names(list, all, t) {
  state.names = list.map((meta) => {
    const [name, kind] = meta;
    let family = families.get(name);
    if (!family || family.kind !== kind) {
      cards.get(name)?.remove();
      families.set(name, (family = new Family(meta)));
    }
    family.gone = 0;
    return family;
  });
  const now = new Set(state.names);
  for (const [name, family] of families) {
    if (now.has(family)) continue;
    family.gone ||= t;
    if (list.length < all) family.found = null;
    if (t - family.gone > KEPT) families.delete(name);
  }
}

// ---- The order of the cards ----

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) inSight.add(target);
    else inSight.delete(target);
  }
  update();
  soon();
}, { rootMargin: '120px' });

const SELF = 'tallies';
const sections = new Map();

class Section {
  constructor(key) {
    this.title = make('span');
    this.head = make('button.group', { type: 'button' }, make('h2', {}, key || 'others'), this.title);
    this.grid = make('div.grid');
    this.lines = make('div.lines');
    this.element = make('section', { 'data-group': key }, this.head, this.grid, this.lines);
    if (key === SELF) this.head.addEventListener('click', () => { state.self = !state.self; arrange(true); });
    else this.head.disabled = true;
    sections.set(key, this);
  }
}

// Families of libraries, which are behind those of the program.
const isLibrary = ({ name }) => /^(allocator|log|target|tokio|tracing)_/.test(name);

const some = (n, one, many) => `${exact(n)} ${n === 1 ? one : many}`;
const first = (name) => name.split(/[_:.]/)[0];

// Puts each family into its group: the ones that move as cards, others as lines. Nothing changes
// places under the pointer, unless the user asked for it.
function arrange(asked) {
  if (!asked && arrange.at && ($('metrics').matches(':hover') || $('metrics').contains(document.activeElement))) {
    // What is new gets its place all the same.
    if ([...families.values()].every((family) => !shown(family) === !cards.has(family.name))) return;
  }
  arrange.at = state.now;
  const all = [...families.values()].filter(shown);
  for (const [name, card] of cards) if (!all.includes(card.family)) card.remove(name);
  const moving = state.order === 'moves';
  const counts = new Map();
  for (const { name } of all) counts.set(first(name), (counts.get(first(name)) ?? 0) + 1);
  const key = ({ name }) => (first(name) === SELF ? SELF : moving || counts.get(first(name)) < 2 ? '' : first(name));
  const searching = words().length > 0;
  const groups = new Map();
  const [t0, t1] = span();
  const by = moving
    ? (a, b) => b.moves - a.moves || (a.name < b.name ? -1 : 1)
    : (a, b) => isLibrary(a) - isLibrary(b) || (a.name < b.name ? -1 : 1);
  for (const family of all) family.moves = moving ? family.get(words()).main.movement(t0, t1) : 0;
  for (const family of all.sort(by)) {
    if (!groups.has(key(family))) groups.set(key(family), []);
    groups.get(key(family)).push(family);
  }
  // The groups that the program is named after are first, and names without a group are behind those
  // with one. Libraries, the process and the metrics about metrics are last.
  const own = identify();
  const rank = (key) => (own.includes(key) ? 0 : key === SELF ? 5 : key === 'process' ? 4 : key === '' ? 2 : isLibrary({ name: `${key}_` }) ? 3 : 1);
  const order = [...groups.keys()].sort((a, b) => rank(a) - rank(b) || (a < b ? -1 : 1));
  for (const [key, section] of sections) if (!groups.has(key)) section.element.remove();
  place($('metrics'), order.map((key) => {
    const section = sections.get(key) ?? new Section(key);
    const members = groups.get(key);
    const folded = key === SELF && !state.self && !searching && order.length > 1 && !members.some(({ name }) => name === state.open);
    const [grid, lines] = [[], []];
    for (const family of members) {
      const card = cards.get(family.name) ?? new Card(family, observer);
      const quiet = family.name !== state.open && !searching && family.quiet(state.now);
      flag(card.element, 'quiet', quiet);
      (quiet ? lines : grid).push(card.element);
    }
    place(section.grid, grid);
    place(section.lines, lines);
    section.grid.hidden = folded || !grid.length;
    section.lines.hidden = folded || !lines.length;
    section.head.hidden = order.length < 2 || (key === '' && order[0] === '');
    write(section.title, some(members.length, 'family', 'families') + (key === SELF ? ' about the metrics themselves' : ''));
    if (key === SELF) section.head.setAttribute('aria-expanded', !folded);
    return section.element;
  }));
}

// Whether a family has a card: the search finds it, and it is there, or was a moment ago.
function shown(family) {
  return family.found !== null && (!family.gone || (cards.has(family.name) && Math.abs(state.now - family.gone) < 30e3));
}

// Writes which program this is, and since when it runs, if its metrics say so. Returns the groups that
// have its name.
function identify() {
  const all = state.names.filter(({ name }) => first(name) !== SELF);
  const build = all.find(({ name }) => /(^|_)build_info$/.test(name)) ?? all.find(({ name }) => name === 'target_info');
  const start = all.find(({ name }) => name === 'process_start_time_seconds') ?? all.find(({ name }) => name.endsWith('_process_start_time_seconds'));
  const labels = new Map([...(build?.constant ?? []), ...(build?.listed[0]?.labels ?? [])]);
  const name = labels.get('service_name') ?? labels.get('name') ?? build?.name.replace(/_?build_info$|^target_info$/, '') ?? '';
  const version = labels.get('version') ?? labels.get('service_version') ?? '';
  write($('program'), `${name} ${version}`.trim());
  const since = Number(start?.value);
  write($('since'), since > 1e8 && since < 1e11 ? `since ${held(since, start)}` : '');
  return [build?.name ?? '', name.replace(/\W/g, '_').toLowerCase()].map(first).filter(Boolean);
}

// ---- Drawing ----

let asked = false;

function soon() {
  if (asked || !state.now) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; render(); });
}

function render(whole) {
  for (const [, card] of cards) {
    if (whole || inSight.has(card.element) || card.open) card.render(whole);
  }
  const { families: all, series, matched, partial } = state.frame;
  const found = words().length ? `${exact(matched)} of ${some(all, 'family', 'families')}` : some(all, 'family', 'families');
  write($('count'), `${found}, ${exact(series)} series`);
  const hidden = matched - state.names.filter((family) => family.found !== null).length;
  $('note').hidden = state.tab !== 'metrics' || (matched > 0 && hidden <= 0 && !partial);
  write($('note'), partial ? 'There is more than the service searches in one second: some series may be missing.' : matched === 0 ? 'Nothing has all of these words in its name, help or labels.' : `${exact(hidden)} more. Search to see them.`);
  $('zoom').hidden = !state.zoom;
  if (state.zoom) write($('zoom'), `${state.zoom.map((t) => clock(new Date(t))).join(' – ')} ×`);
  readout();
}

// Draws cards and rows out of sight, the oldest first, for so many milliseconds of each second: a picture of
// the whole page has them.
const OTHERS = 20;

function renderOthers() {
  const end = performance.now() + OTHERS;
  const others = [...cards.values()].filter((card) => card.drawn !== state.now && card.rows.size <= MORE_ROWS && card.element.checkVisibility());
  others.sort((a, b) => (a.drawn ?? 0) - (b.drawn ?? 0));
  for (const card of others) {
    if (performance.now() > end) return;
    card.render(true);
  }
}

// Draws everything in light colors, for paper.
function print() {
  print.theme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = 'light';
  draw.repaint();
  if (state.frame) render(true);
}

// The time and the value under the pointer.
function readout() {
  const output = $('readout');
  const at = readout.at;
  output.hidden = !at || !state.cursor;
  if (output.hidden) return;
  const card = cards.get(at.element.closest('.card')?.dataset.family);
  write(output, clock(new Date(state.cursor)) + (card?.canvas === at.element ? card.read(at.offset) : ''));
  const box = output.getBoundingClientRect();
  const x = Math.min(at.x + 14, document.documentElement.clientWidth - box.width - 8), y = Math.max(8, at.y - box.height - 10);
  output.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
}

function status() {
  const quiet = (performance.now() - stream.last) / 1000;
  let [name, text] = ['live', `live, ${clock(new Date(state.frame?.time ?? Date.now()))}`];
  const old = state.frame ? `, values are of ${clock(new Date(state.frame.time))}` : '';
  if (state.paused) [name, text] = ['paused', `paused at ${clock(new Date(state.now))}`];
  else if (state.tab !== 'metrics') [name, text] = ['live', ''];
  else if (!stream.source && !stream.lost) [name, text] = ['connecting', `connecting${old}`];
  else if (!stream.source) [name, text] = ['lost', `${old ? 'connection lost' : 'no connection, first tried'} ${ago((performance.now() - stream.lost) / 1000)}${old}`];
  else if (quiet > 0.5 + stream.pace / 1000) [name, text] = ['waiting', `last news ${ago(quiet)}${old}`];
  document.body.dataset.state = name;
  write($('status'), text);
}

setInterval(() => {
  if (document.hidden) return;
  const quiet = performance.now() - stream.last;
  // A stream that says nothing for so long may have died without a word.
  if (stream.source && quiet > Math.max(20e3, 3 * stream.pace) && !stream.next) { stream.last += 10e3; connect(); }
  status();
}, 1000);

// ---- What the user does ----

function changed() {
  remember();
  update();
  soon();
}

function toggle(name, block = 'nearest') {
  const opens = state.open !== name;
  Object.assign(state, { open: opens ? name : '', series: null, by: '', limit: MORE_ROWS });
  changed();
  if (!state.now) return;
  arrange(true);
  render();
  if (opens) cards.get(name)?.element.scrollIntoView({ block });
}

// Adds up the series of a family by the values of a label, or shows them again.
function sum(name, label) {
  if (state.open !== name) toggle(name);
  state.by = state.by === label ? '' : label;
  state.series = null;
  changed();
}

function range(ms) {
  Object.assign(state, { range: ms, zoom: null });
  for (const button of $('ranges').children) button.setAttribute('aria-pressed', Number(button.value) === ms);
  changed();
}

// Shows the range between two times.
function zoom(range) {
  state.zoom = range && [...range].sort((a, b) => a - b);
  changed();
}

function point(at) {
  readout.at = at;
  soon();
}

function order(name) {
  state.order = name;
  $('order').setAttribute('aria-pressed', name === 'moves');
  if (state.now) arrange(true);
  changed();
}

function pause() {
  state.paused = !state.paused;
  $('pause').setAttribute('aria-pressed', state.paused);
  write($('pause'), state.paused ? 'Go on' : 'Pause');
  if (!state.paused && state.frame) state.now = state.frame.time;
  status();
  soon();
}

const THEMES = ['auto', 'light', 'dark'];

function theme(name) {
  document.documentElement.dataset.theme = name;
  write($('theme'), name[0].toUpperCase() + name.slice(1));
  try { localStorage.setItem('tallies-theme', name); } catch { /* not allowed here */ }
  draw.repaint();
  soon();
}

function nextTheme() {
  theme(THEMES[(THEMES.indexOf(document.documentElement.dataset.theme) + 1) % 3]);
}

function search(text) {
  state.search = text.trim();
  if ($('search').value.trim() !== state.search) $('search').value = state.search;
  if (state.tab !== 'metrics' && report.last) show(report.last);
  changed();
}

Object.assign(act, { changed, point, search, sum, toggle, zoom });

function step(by) {
  const all = [...$('metrics').querySelectorAll('.card')].filter((card) => card.checkVisibility());
  const at = all.indexOf(document.activeElement?.closest?.('.card'));
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + by))];
  next?.focus();
}

function escape() {
  if (document.activeElement === $('search')) {
    if ($('search').value) search(''); else $('search').blur();
  } else if (state.zoom) zoom(null);
  else if (state.series !== null) { state.series = null; changed(); }
  else if (state.open) toggle(state.open);
  else if (state.search) search('');
}

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $('help').open) return;
  if (event.key === 'Escape') return escape();
  const typing = event.target.matches?.('input');
  if (typing) return;
  const card = event.target.matches?.('.card') && event.target;
  const keys = {
    '/': () => $('search').focus(), j: () => step(1), k: () => step(-1), ArrowDown: card && (() => step(1)), ArrowUp: card && (() => step(-1)),
    Enter: card && (() => toggle(card.dataset.family)), p: pause, t: nextTheme, o: () => order(state.order === 'name' ? 'moves' : 'name'), '?': () => $('help').showModal(),
    c: () => !$('tabs').hidden && tab(state.tab === 'metrics' ? 'cardinality' : 'metrics'),
  };
  RANGES.forEach(([ms], i) => { keys[i + 1] = () => range(ms); });
  const act = keys[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

// ---- The report on cardinality, if the service has one ----

async function report() {
  const answer = await fetch(here('-/cardinality'), { headers: { Accept: 'application/json' } });
  if (!answer.ok) throw new Error(answer.status);
  return answer.json();
}

function tab(name) {
  state.tab = name;
  for (const button of $('tabs').children) {
    if (button.dataset.tab === name) button.setAttribute('aria-current', 'page');
    else button.removeAttribute('aria-current');
  }
  $('metrics').hidden = name !== 'metrics';
  $('cardinality').hidden = name === 'metrics';
  $('note').hidden = true;
  if (name === 'metrics') update();
  else { disconnect(); cardinality(); }
  remember();
}

async function cardinality() {
  try { show(report.last = await report()); } catch { $('cardinality').replaceChildren(make('p.note', {}, 'The report cannot be read now.')); }
}

function show(list) {
  const head = make('tr', {}, make('th', {}, 'family'), make('th.n', {}, 'series'), make('th.n', {}, 'limit'), make('th.n', {}, 'refused'), make('th', {}, 'labels: distinct values, and those with the most series'));
  const body = make('tbody');
  const has = ({ family, labels }) => {
    const text = lower([family, families.get(family)?.help, ...labels.flatMap(({ label, largest }) => [label, ...largest.map(([value]) => value)])].join('\n'));
    return words(state.search).every((word) => text.includes(word));
  };
  for (const { family, series, limit, refused, labels } of list.filter(has).sort((a, b) => b.series - a.series)) {
    const count = make('td.n', { 'data-of': 'series' }, make('data', { value: series }, exact(series)));
    if (limit) count.append(make('meter', { min: 0, max: limit, low: limit * 0.7, high: limit * 0.9, optimum: 0, value: series }));
    const values = labels.map(({ label, distinct, largest }) => make('div.label', {}, make('b', {}, ...broken(label)), ' ', make('span', {}, exact(distinct)),
      make('div.values', {}, largest.map(([value, n]) => `${value === '' ? '""' : value} ${exact(n)}`).join(', '))));
    body.append(make('tr', {}, make('td.name', {}, ...broken(family)), count, make('td.n', { 'data-of': 'limit' }, limit ? exact(limit) : '–'),
      make(refused ? 'td.n.refused' : 'td.n', { 'data-of': 'refused' }, exact(refused ?? 0)), make('td', {}, ...values)));
  }
  $('cardinality').replaceChildren(make('table.report', {}, make('thead', {}, head), body));
}

// ---- The address remembers what is shown ----

function remember() {
  const query = new URLSearchParams();
  if (state.search) query.set('match', state.search);
  if (state.open) query.set('open', state.open);
  if (state.by) query.set('by', state.by);
  if (state.order !== 'name') query.set('order', state.order);
  if (state.range !== RANGES[0][0]) query.set('range', state.range / 1000);
  if (state.tab !== 'metrics') query.set('tab', state.tab);
  history.replaceState(null, '', query.size ? `#${query}` : location.pathname);
}

// Shows what the address says, when the page begins and when the user changes it.
function follow() {
  const query = new URLSearchParams(location.hash.slice(1));
  state.search = query.get('match') ?? '';
  $('search').value = state.search;
  Object.assign(state, { open: query.get('open') ?? '', by: query.get('by') ?? '', series: null, limit: MORE_ROWS });
  order(query.get('order') === 'moves' ? 'moves' : 'name');
  range(RANGES.find(([ms]) => ms / 1000 === Number(query.get('range')))?.[0] ?? RANGES[0][0]);
  const wanted = query.get('tab') === 'cardinality' && !$('tabs').hidden ? 'cardinality' : 'metrics';
  if (wanted !== state.tab) tab(wanted);
  follow.open = state.open;
  reveal();
}

// Scrolls to the family that the address names, as soon as it is there.
function reveal() {
  if (!follow.open || !state.now) return;
  arrange(true);
  const card = cards.get(follow.open);
  follow.open = '';
  render();
  card?.element.scrollIntoView({ block: 'start' });
}

function begin() {
  write($('host'), location.host);
  document.title = `${location.host} live`;
  for (const [ms, name] of RANGES) {
    const button = make('button', { type: 'button', value: ms, 'aria-pressed': 'false' }, name);
    button.addEventListener('click', () => range(ms));
    $('ranges').append(button);
  }
  let stored = null;
  try { stored = localStorage.getItem('tallies-theme'); } catch { /* not allowed here */ }
  theme(THEMES.includes(stored) ? stored : 'auto');
  const first = new URLSearchParams(location.hash.slice(1)).get('tab');
  follow();
  addEventListener('hashchange', follow);
  $('pause').addEventListener('click', pause);
  $('theme').addEventListener('click', nextTheme);
  $('order').addEventListener('click', () => order(state.order === 'name' ? 'moves' : 'name'));
  $('zoom').addEventListener('click', () => zoom(null));
  $('keys').addEventListener('click', () => $('help').showModal());
  let typing = 0;
  $('search').addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(() => search($('search').value), 150);
  });
  for (const button of $('tabs').children) button.addEventListener('click', () => tab(button.dataset.tab));
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { draw.repaint(); soon(); });
  new ResizeObserver(soon).observe($('metrics'));
  // A page in the background costs nothing.
  document.addEventListener('visibilitychange', () => {
    if (document.hidden) disconnect();
    else if (state.tab === 'metrics') { stream.last = performance.now(); connect(); }
  });
  addEventListener('pagehide', disconnect);
  addEventListener('beforeprint', print);
  addEventListener('afterprint', () => theme(print.theme));
  report().then(() => { $('tabs').hidden = false; if (first === 'cardinality') tab(first); }).catch(() => {});
  if (!document.hidden) connect();
}

begin();
