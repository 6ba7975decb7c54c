// The live page: what is in sight, the stream of frames, and the elements.
//
// Texts from outside only ever become the text of an element.

import { Family, GAP, clock, exact, held, lower, num, pace, short } from './data.js';
import * as draw from './draw.js';

const RANGES = [[60e3, '1 min'], [300e3, '5 min'], [900e3, '15 min'], [3600e3, '1 h']];
const CLOSED_ROWS = 3;
const MORE_ROWS = 50;
const RATE_OVER = 5000; // a rate is that of the last five seconds
const LONGEST = 12e3; // bytes of a URL's query

const $ = (id) => document.getElementById(id);
const state = {
  search: '', range: 60e3, open: '', series: null, limit: MORE_ROWS, tab: 'metrics',
  paused: false, cursor: null, now: 0, frame: null, names: [],
};
const families = new Map();
const cards = new Map();
const inSight = new Set(); // cards and rows
const words = () => lower(state.search).split(/\s+/).filter(Boolean);

// An element with classes, as in `make('p.help', …)`, and its children: elements and texts.
function make(what, attributes = {}, ...children) {
  const [tag, ...classes] = what.split('.');
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(' ');
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Shows a number, and has it in full for programs and as a tooltip. The unit of a large one is small.
function figure(element, value, text) {
  const [, number, unit] = element.unit ? /^(.*?)(?:\u202f(\D+))?$/.exec(text) : [, text];
  write(element.number ?? element, number);
  if (element.unit) write(element.unit, unit ?? '');
  const full = value === undefined || value === null ? '' : String(value);
  if (element.value !== full) {
    element.value = full;
    element.title = full && exact(full) !== text ? exact(full) : '';
  }
}

function flag(element, name, on) {
  element.classList.toggle(name, Boolean(on));
}

// ---- The stream ----

const stream = { source: null, url: '', next: null, timer: 0, change: 0, failures: 0, last: 0, age: 0 };

// A URL beside that of the page, without the password that the latter may have.
const here = (path) => new URL(path, location.origin + location.pathname).href;

// What the page wants to get, as a URL. Services reject long ones, so that only as many families are
// in it as have room.
function wanted() {
  const query = new URLSearchParams();
  let room = LONGEST;
  const append = (name, value) => {
    room -= name.length + encodeURIComponent(value).length + 2;
    if (room > 0) query.append(name, value);
  };
  if (words().length) append('match', words().join(' '));
  if (state.open) {
    append('open', state.open);
    append('limit', String(state.limit));
    if (state.series !== null) append('series', state.series);
  }
  for (const [name, card] of cards) if (inSight.has(card.element) && name !== state.open) append('seen', name);
  return here(`live/stream?${query}`);
}

// Begins another stream if the page wants something else. The old one goes on until the new one
// has sent something, so that no second is missing.
function update() {
  clearTimeout(stream.change);
  stream.change = setTimeout(() => {
    if (!document.hidden && state.tab === 'metrics' && (wanted() !== stream.url || !(stream.source || stream.next))) connect();
  }, 120);
}

function connect() {
  clearTimeout(stream.timer);
  stream.next?.close();
  const url = (stream.url = wanted());
  const key = state.search;
  const source = (stream.next = new EventSource(url));
  const { limit, open, series } = state;
  source.addEventListener('message', (event) => {
    if (source === stream.next) {
      stream.source?.close();
      [stream.source, stream.next] = [source, null];
      stream.failures = 0;
    }
    if (source === stream.source && key === state.search) receive(JSON.parse(event.data), limit, open, series);
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
  Object.assign(stream, { source: null, next: null, url: '' });
  status();
}

function receive(frame, limit, open, series) {
  stream.last = performance.now();
  const t = frame.time;
  pace(frame.seconds);
  if (frame.names) names(frame.names, t);
  const all = words();
  state.names.forEach((family, i) => {
    if (frame.all[i]) family.overview(t, frame.seconds, family.key(all), frame.all[i]);
  });
  for (const [name, detail] of Object.entries(frame.seen)) {
    const family = families.get(name);
    if (!family) continue;
    const selected = name === open ? series : null;
    family.detail(t, frame.seconds, family.key(all), selected, detail, name === open ? limit : CLOSED_ROWS, state.search);
  }
  state.frame = frame;
  if (!state.paused) {
    state.now = t;
    render();
  }
  status();
}

// Takes over a new list of families. One that was there before, under the same search, is gone.
function names(list, t) {
  const searched = state.search !== names.search;
  names.search = state.search;
  const now = new Set(list.map(([name]) => name));
  state.names = list.map((meta) => {
    const [name, kind, unit] = meta;
    let family = families.get(name);
    if (!family || family.kind !== kind) {
      cards.get(name)?.remove();
      families.set(name, (family = new Family(meta)));
    }
    family.gone = 0;
    return family;
  });
  for (const [name, card] of cards) {
    if (now.has(name)) continue;
    if (searched) card.remove();
    else card.family.gone ||= t;
  }
  // In the order of the list, without moving what is in place.
  let at = $('metrics').firstElementChild;
  for (const family of state.names) {
    const card = cards.get(family.name) ?? new Card(family);
    while (at && at !== card.element && cards.get(at.dataset.family)?.family.gone) at = at.nextElementSibling;
    if (at === card.element) at = at.nextElementSibling;
    else $('metrics').insertBefore(card.element, at);
  }
}

// ---- Elements ----

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) inSight.add(target);
    else inSight.delete(target);
  }
  update();
  soon();
}, { rootMargin: '120px' });

// A canvas that tells the time under the pointer.
function canvas(name, at) {
  const element = make('canvas', { role: 'img', 'aria-label': name });
  element.addEventListener('pointermove', (event) => {
    const t = at()?.t(event.offsetX);
    if (t === undefined) return;
    state.cursor = t;
    readout.at = { element, x: event.clientX, y: event.clientY, offset: event.offsetY };
    soon();
  });
  element.addEventListener('pointerleave', () => {
    state.cursor = null;
    readout.at = null;
    soon();
  });
  return element;
}

const pill = ([name, value]) => make('span', {}, make('i', {}, name), value === '' ? '""' : value);
const text = (labels) => labels.map(([name, value]) => `${name}="${value}"`).join('\n');

class Card {
  constructor(family) {
    this.family = family;
    this.rows = new Map();
    this.quantiles = new Map();
    this.canvas = canvas(family.name, () => this.at);
    this.name = make('h2', {}, family.name);
    this.head = make('header', {}, this.name, make('span.kind', {}, family.kind));
    this.big = make('data.big');
    this.big.append((this.big.number = make('span')), (this.big.unit = make('small')));
    this.per = make('span.per', {}, family.grows ? '/s' : '');
    this.side = make('span.side');
    this.sideLabel = document.createTextNode('');
    this.sideValue = make('data.value');
    this.side.append(this.sideLabel, this.sideValue);
    this.dl = make('dl.quantiles', { hidden: '' });
    this.plot = make('div.plot', {}, this.canvas);
    this.list = make('ul.rows');
    this.series = make('span');
    this.more = make('button', { type: 'button', hidden: '' }, 'show more');
    this.element = make('article.card', { tabindex: '0', 'aria-label': `${family.name}, ${family.kind}`, 'aria-expanded': 'false' },
      this.head, make('p.help', { title: family.help }, family.help));
    if (family.constant.length) this.element.append(make('div.labels.constant', {}, ...family.constant.map(pill)));
    this.element.append(make('div.figures', {}, this.big, this.per, this.side), this.dl, this.plot, this.list,
      make('footer.foot', {}, this.series, this.more));
    this.element.dataset.family = family.name;
    flag(this.element, 'heat', family.heat);
    flag(this.element, 'bands', family.kind === 'summary');
    flag(this.element, 'still', family.still);
    this.head.addEventListener('click', () => toggle(family.name));
    this.plot.addEventListener('dblclick', () => toggle(family.name));
    this.more.addEventListener('click', () => {
      if (state.open !== family.name) return toggle(family.name);
      state.limit = Math.min(1000, state.limit + MORE_ROWS);
      update();
    });
    cards.set(family.name, this);
    observer.observe(this.element);
  }

  remove() {
    observer.unobserve(this.element);
    for (const row of this.rows.values()) observer.unobserve(row.element);
    inSight.delete(this.element);
    this.element.remove();
    cards.delete(this.family.name);
    if (state.open === this.family.name) Object.assign(state, { open: '', series: null });
  }

  // The curves that the figures and the plot show.
  get curves() {
    const selected = state.open === this.family.name ? state.series : null;
    return this.family.get(this.family.key(words()), selected);
  }

  render(t0, t1) {
    const { family } = this;
    const open = state.open === family.name;
    flag(this.element, 'open', open);
    flag(this.element, 'gone', family.gone);
    this.element.setAttribute('aria-expanded', open);
    const { curves } = this;
    const one = state.series !== null && open;
    const value = one ? curves.last?.value : family.value;
    const at = state.cursor ?? t1;
    this.figures(curves, value, at, t0, t1);
    const view = { t0, t1, cursor: state.cursor, unit: family.unit, axes: open };
    if (family.still) this.at = undefined;
    else if (family.heat) this.at = draw.heat(this.canvas, curves, view);
    else if (family.kind === 'summary') this.at = draw.lines(this.canvas, this.bands(curves), view);
    else {
      const line = { track: curves.main, value: (v) => v, color: 'accent', fill: true };
      this.at = draw.lines(this.canvas, [line], { ...view, zero: family.grows });
    }
    this.series_rows(open, t0, t1);
    const n = exact(family.count);
    const shown = this.shown;
    write(this.series, family.gone ? 'gone' : family.count === 0 ? 'no series yet' : shown < family.count ? `${shown} of ${n} series` : family.count === 1 || family.still && shown === family.count ? '' : `${n} series`);
    this.more.hidden = shown >= family.count || (open && state.limit >= 1000);
  }

  figures(curves, value, at, t0, t1) {
    const { family } = this;
    if (family.still) {
      this.big.parentElement.hidden = true;
      return;
    }
    const rate = family.grows ? curves.main.mean(at, Math.max(RATE_OVER, GAP)) : undefined;
    if (family.grows) {
      figure(this.big, rate, short(rate, family.heat || family.kind === 'summary' ? '' : family.unit));
      write(this.sideLabel, family.kind === 'counter' ? 'total ' : 'observations ');
      figure(this.sideValue, value, family.kind === 'counter' && family.unit ? short(value, family.unit) : Number.isInteger(num(value)) ? exact(value) : short(value));
    } else {
      const then = state.cursor === null ? value : curves.main.at(at);
      figure(this.big, then, held(then, family));
      const range = curves.main.range(t0, t1);
      const moved = range && range[0] !== range[1];
      write(this.sideLabel, moved ? `${held(range[0], family)} to ${held(range[1], family)}` : '');
      figure(this.sideValue, undefined, '');
    }
    if (!family.heat && family.kind !== 'summary') return;
    const all = [...curves.quantiles].sort(([a], [b]) => a - b);
    this.dl.hidden = !all.length;
    for (const [phi, track] of all) {
      if (!this.quantiles.has(phi)) {
        const parts = { value: make('data'), error: make('small') };
        parts.element = make('div', {}, make('dt', {}, phi === 0.5 ? 'median' : `p${Number((phi * 100).toPrecision(6))}`), make('dd', {}, parts.value, ' ', parts.error));
        this.quantiles.set(phi, parts);
        this.dl.append(parts.element);
      }
      const parts = this.quantiles.get(phi);
      const i = track.from(at + 1) - 1;
      const [value, low, high, error] = i >= 0 ? track.v[i] : [];
      figure(parts.value, value, short(value, family.unit));
      parts.element.title = low === undefined ? '' : `certainly from ${short(low, family.unit)} to ${short(high, family.unit)}`;
      const bounds = error === undefined ? '' : `±${Number((error * 100).toPrecision(2))}\u202f%`;
      write(parts.error, bounds);
      parts.error.title = error === undefined ? '' : 'certified: by how much the rank can be wrong';
    }
    for (const [phi, { element }] of this.quantiles) element.hidden = !curves.quantiles.has(phi);
  }

  bands(curves) {
    const colors = ['accent-3', 'accent-4', 'accent-2'];
    const all = [...curves.quantiles].sort(([a], [b]) => a - b);
    return all.map(([, track], i) => ({
      track, value: (v) => v[0], color: colors[i % 3],
      band: (v) => [v[1] ?? v[0], v[2] ?? v[0]],
    }));
  }

  series_rows(open, t0, t1) {
    const { family } = this;
    const rows = open ? family.shown : family.shown.slice(0, CLOSED_ROWS);
    this.shown = rows.filter((row) => !row.gone).length;
    // A single series without labels has nothing that the figures above do not have.
    const bare = family.count <= 1 && rows.length === 1 && rows[0].labels.length === 0;
    const wanted = bare ? [] : rows;
    let at = this.list.firstElementChild;
    const now = new Set();
    for (const data of wanted) {
      const row = this.rows.get(data.id) ?? this.add(data);
      now.add(data.id);
      const item = row.element.parentElement;
      if (at === item) at = at.nextElementSibling;
      else this.list.insertBefore(item, at);
      this.row(row, data, open, t0, t1);
    }
    for (const [id, row] of this.rows) {
      if (now.has(id)) continue;
      observer.unobserve(row.element);
      inSight.delete(row.element);
      row.element.parentElement.remove();
      this.rows.delete(id);
    }
    this.list.hidden = !wanted.length;
  }

  add(data) {
    const { family } = this;
    const labels = make('span.labels', {}, ...(data.labels.length ? data.labels.map(pill) : [make('em', {}, 'no labels')]));
    const row = { value: make('data'), more: make('data.more') };
    if (family.still) {
      row.state = make('span.state');
      row.element = make('div.row.plain', {}, labels, ...(family.kind === 'info' ? [] : [row.state]));
    } else {
      row.canvas = canvas('', () => row.at);
      row.element = make('button.row', { type: 'button', 'aria-pressed': 'false' }, labels, row.canvas, row.value, row.more);
      row.element.addEventListener('click', () => {
        const same = state.open === family.name && state.series === data.id;
        // The service could not be asked for it.
        if (encodeURIComponent(data.id).length > LONGEST / 2) return;
        if (state.open !== family.name) toggle(family.name);
        state.series = same ? null : data.id;
        changed();
      });
    }
    row.element.dataset.series = data.id;
    row.element.title = text(data.labels);
    // In a closed card, the values alone tell series apart, if there are several labels.
    flag(labels, 'several', data.labels.length > 1 || data.labels[0]?.[0] === family.name);
    this.list.append(make('li', {}, row.element));
    this.rows.set(data.id, row);
    observer.observe(row.element);
    return row;
  }

  row(row, data, open, t0, t1) {
    const { family } = this;
    const { last, curves } = data;
    flag(row.element, 'gone', data.gone);
    if (row.state) {
      const on = num(last.value) === 1;
      flag(row.state, 'on', on);
      row.state.title = on ? 'now' : '';
    }
    if (!row.canvas || !inSight.has(row.element)) return;
    row.element.setAttribute('aria-pressed', open && state.series === data.id);
    const at = state.cursor ?? t1;
    if (family.grows) {
      const rate = curves.main.mean(at, Math.max(RATE_OVER, GAP));
      figure(row.value, rate, data.gone ? 'gone' : `${short(rate, family.kind === 'counter' ? family.unit : '')}/s`);
    } else {
      const then = state.cursor === null ? last.value : curves.main.at(at);
      figure(row.value, then, data.gone ? 'gone' : held(then, family));
    }
    if (open) {
      const [phi, value] = (last.quantiles ?? []).at(-1) ?? [];
      if (family.kind === 'counter') figure(row.more, last.value, short(last.value, family.unit));
      else if (phi !== undefined && phi < 1) figure(row.more, value, `p${Number((phi * 100).toPrecision(6))} ${short(value, family.unit)}`);
      else if (family.heat) figure(row.more, undefined, 'p99 –');
      else figure(row.more, last.value, family.grows ? exact(last.value) : '');
    }
    const line = { track: curves.main, value: (v) => v, color: 'accent' };
    row.at = draw.lines(row.canvas, [line], { t0, t1, cursor: state.cursor, zero: family.grows });
  }
}

// ---- Drawing ----

let asked = false;

function soon() {
  if (asked || !state.now) return;
  asked = true;
  requestAnimationFrame(() => { asked = false; render(); });
}

function render() {
  const [t0, t1] = [state.now - state.range, state.now];
  for (const [, card] of cards) {
    if (card.family.gone && Math.abs(t1 - card.family.gone) > 30e3) card.remove();
    else if (inSight.has(card.element) || card.family.name === state.open) card.render(t0, t1);
  }
  const { families: all, series, matched } = state.frame;
  const some = (n, one, many) => `${exact(n)} ${n === 1 ? one : many}`;
  const found = words().length ? `${exact(matched)} of ${some(all, 'family', 'families')}` : some(all, 'family', 'families');
  write($('count'), `${found}, ${exact(series)} series`);
  const hidden = matched - state.names.length;
  $('note').hidden = state.tab !== 'metrics' || (matched > 0 && hidden <= 0);
  write($('note'), matched === 0 ? 'Nothing has all of these words in its name, help or labels.' : `${exact(hidden)} more. Search to see them.`);
  readout();
}

// The time and the value under the pointer.
function readout() {
  const output = $('readout');
  const at = readout.at;
  output.hidden = !at || !state.cursor;
  if (output.hidden) return;
  let text = clock(new Date(state.cursor));
  const card = cards.get(at.element.closest('.card')?.dataset.family);
  if (card?.canvas === at.element) {
    const { family, curves } = card;
    const [t0, t1] = [state.now - state.range, state.now];
    if (family.heat) {
      const found = draw.bucket(at.element, curves, t0, t1, state.cursor, at.offset, state.open === family.name);
      if (found) text += `\n${short(found.from, family.unit)} to ${short(found.to, family.unit)}: ${exact(found.n)}`;
    } else if (family.kind !== 'summary') {
      const value = curves.main.at(state.cursor);
      if (value !== undefined) text += `\n${family.grows ? `${short(value, family.unit)}/s` : held(value, family)}`;
    }
  }
  write(output, text);
  const box = output.getBoundingClientRect();
  const x = Math.min(at.x + 14, innerWidth - box.width - 8), y = Math.max(8, at.y - box.height - 10);
  output.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
}

function status() {
  const quiet = (performance.now() - stream.last) / 1000;
  let [name, text] = ['live', `live, ${clock(new Date(state.frame?.time ?? Date.now()))}`];
  if (state.paused) [name, text] = ['paused', `paused at ${clock(new Date(state.now))}`];
  else if (state.tab !== 'metrics') [name, text] = ['live', ''];
  else if (!stream.source) [name, text] = ['lost', state.frame ? 'connection lost, trying again' : 'connecting'];
  else if (quiet > 0.5 + GAP / 1000) [name, text] = ['waiting', `no news for ${Math.round(quiet)}\u202fs`];
  document.body.dataset.state = name;
  write($('status'), text);
}

setInterval(() => {
  if (document.hidden) return;
  const quiet = performance.now() - stream.last;
  // A stream that says nothing for so long may have died without a word.
  if (stream.source && quiet > Math.max(20e3, 3 * GAP) && !stream.next) { stream.last += 10e3; connect(); }
  status();
}, 1000);

// ---- What the user does ----

function changed() {
  remember();
  update();
  soon();
}

function toggle(name) {
  const opens = state.open !== name;
  Object.assign(state, { open: opens ? name : '', series: null, limit: MORE_ROWS });
  const card = cards.get(name);
  changed();
  if (state.now) render();
  if (card && opens) card.element.scrollIntoView({ block: 'nearest' });
}

function range(ms) {
  state.range = ms;
  for (const button of $('ranges').children) button.setAttribute('aria-pressed', Number(button.value) === ms);
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
  if (state.open && !families.get(state.open)) state.open = '';
  changed();
}

function step(by) {
  const all = [...$('metrics').children];
  const at = all.indexOf(document.activeElement?.closest?.('.card'));
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : Math.max(0, Math.min(all.length - 1, at + by))];
  next?.focus();
}

function escape() {
  if (document.activeElement === $('search')) {
    if ($('search').value) { $('search').value = ''; search(''); } else $('search').blur();
  } else if (state.series !== null) { state.series = null; changed(); }
  else if (state.open) toggle(state.open);
  else if (state.search) { $('search').value = ''; search(''); }
}

document.addEventListener('keydown', (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || $('help').open) return;
  if (event.key === 'Escape') return escape();
  const typing = event.target.matches?.('input');
  if (typing) return;
  const card = event.target.matches?.('.card') && event.target;
  const keys = {
    '/': () => $('search').focus(), j: () => step(1), k: () => step(-1), ArrowDown: card && (() => step(1)), ArrowUp: card && (() => step(-1)),
    Enter: card && (() => toggle(card.dataset.family)), p: pause, t: nextTheme, '?': () => $('help').showModal(),
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
  try { show(await report()); } catch { $('cardinality').replaceChildren(make('p.note', {}, 'The report cannot be read now.')); }
}

function show(list) {
  const head = make('tr', {}, make('th', {}, 'family'), make('th.n', {}, 'series'), make('th.n', {}, 'limit'), make('th.n', {}, 'refused'), make('th', {}, 'labels: distinct values, and those with the most series'));
  const body = make('tbody');
  for (const { family, series, limit, refused, labels } of [...list].sort((a, b) => b.series - a.series)) {
    const count = make('td.n', { 'data-of': 'series' }, make('data', { value: series }, exact(series)));
    if (limit) count.append(make('meter', { min: 0, max: limit, low: limit * 0.7, high: limit * 0.9, optimum: 0, value: series }));
    const values = labels.map(({ label, distinct, largest }) => make('div.label', {}, make('b', {}, label), ' ', make('span', {}, exact(distinct)),
      make('div.values', {}, largest.map(([value, n]) => `${value === '' ? '""' : value} ${exact(n)}`).join(', '))));
    body.append(make('tr', {}, make('td.name', {}, family), count, make('td.n', { 'data-of': 'limit' }, limit ? exact(limit) : '–'),
      make(refused ? 'td.n.refused' : 'td.n', { 'data-of': 'refused' }, exact(refused ?? 0)), make('td', {}, ...values)));
  }
  $('cardinality').replaceChildren(make('table.report', {}, make('thead', {}, head), body));
}

// ---- The address remembers what is shown ----

function remember() {
  const query = new URLSearchParams();
  if (state.search) query.set('match', state.search);
  if (state.open) query.set('open', state.open);
  if (state.range !== RANGES[0][0]) query.set('range', state.range / 1000);
  if (state.tab !== 'metrics') query.set('tab', state.tab);
  history.replaceState(null, '', query.size ? `#${query}` : location.pathname);
}

function begin() {
  const query = new URLSearchParams(location.hash.slice(1));
  state.search = query.get('match') ?? '';
  state.open = query.get('open') ?? '';
  $('search').value = state.search;
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
  range(RANGES.find(([ms]) => ms / 1000 === Number(query.get('range')))?.[0] ?? RANGES[0][0]);
  $('pause').addEventListener('click', pause);
  $('theme').addEventListener('click', nextTheme);
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
  const first = query.get('tab');
  report().then(() => { $('tabs').hidden = false; if (first === 'cardinality') tab(first); }).catch(() => {});
  if (!document.hidden) connect();
}

begin();
