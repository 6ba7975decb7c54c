// The card of one family: its figures, its chart and its series.

import { high, num } from './data.js';
import * as draw from './draw.js';
import { LONGEST, MORE_ROWS, act, broken, cards, flag, inSight, make, moment, place, span, state, words, write } from './state.js';
import { bounded, cut, dated, differing, exact, held, short } from './text.js';

const CLOSED_ROWS = 3;
const STILL_ROWS = 12;
const FAILED_ROWS = 12; // in a card that is closed

// Shows a number, and has it in full for programs and as a tooltip. The unit of a large one is small.
function figure(element, value, text) {
  const [, number, unit] = element.unit ? /^(.*?)(?:\u202f(\D+))?$/.exec(text) : [, text];
  write(element.number ?? element, number);
  if (element.unit) write(element.unit, unit ?? '');
  const full = value === undefined || value === null || Number.isNaN(value) ? '' : String(value);
  if (element.value !== full) {
    element.value = full;
    element.title = full && !Array.isArray(value) && exact(full) !== text ? exact(full) : '';
  }
}

// A canvas that tells the time under the pointer. In a chart, a drag chooses a range.
function canvas(name, at, zooms) {
  const element = make('canvas', { role: 'img', 'aria-label': name });
  let from = null;
  element.addEventListener('pointerdown', (event) => {
    if (!zooms || event.button !== 0 || event.pointerType === 'touch') return;
    from = { x: event.offsetX, t: at()?.t(event.offsetX) };
    element.setPointerCapture(event.pointerId);
  });
  element.addEventListener('pointermove', (event) => {
    const t = at()?.t(event.offsetX);
    if (t === undefined) return;
    state.cursor = t;
    state.drag = from?.t !== undefined && Math.abs(event.offsetX - from.x) > 6 ? [from.t, t] : null;
    act.point({ element, x: event.clientX, y: event.clientY, offset: event.offsetY });
  });
  element.addEventListener('pointerup', () => {
    if (state.drag) act.zoom(state.drag);
    from = state.drag = null;
  });
  element.addEventListener('pointerleave', () => {
    from = state.drag = state.cursor = null;
    act.point(null);
  });
  return element;
}

const pill = ([name, value]) => make('span', {}, make('i', {}, name), value === '' ? '""' : value);
const text = (labels) => labels.map(([name, value]) => `${name}="${value}"`).join('\n');

const nameOf = (phi) => (phi === 0.5 ? 'median' : `p${Number((phi * 100).toPrecision(6))}`);

export class Card {
  constructor(family, observer) {
    this.family = family;
    this.observer = observer;
    this.rows = new Map();
    this.quantiles = new Map();
    this.canvas = canvas(family.name, () => this.at, true);
    this.name = make('h2', {}, ...broken(family.name));
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
    this.key = make('div.key', { hidden: '', title: 'Observations per second in one bucket' }, '0', make('i'), (this.most = make('span')));
    this.by = make('div.by', { hidden: '' });
    this.heads = make('div.heads', { hidden: '' });
    this.list = make('ul.rows');
    this.series = make('span');
    this.failures = make('span.failures');
    this.more = make('button', { type: 'button', hidden: '' }, 'show more');
    this.element = make('article.card', { tabindex: '0', 'aria-label': `${family.name}, ${family.kind}`, 'aria-expanded': 'false' },
      this.head, make('p.help', { title: family.help }, family.help));
    if (family.constant.length) this.element.append(make('div.labels.constant', {}, ...family.constant.map(pill)));
    this.element.append(make('div.figures', {}, this.big, this.per, this.side), this.dl, this.plot, this.key, this.by, this.heads, this.list,
      make('footer.foot', {}, this.series, this.failures, this.more));
    this.element.dataset.family = family.name;
    flag(this.element, 'heat', family.heat);
    flag(this.element, 'bands', family.kind === 'summary');
    flag(this.element, 'still', family.still);
    this.head.addEventListener('click', () => act.toggle(family.name));
    this.plot.addEventListener('dblclick', () => act.toggle(family.name));
    this.more.addEventListener('click', () => {
      if (state.open !== family.name) return act.toggle(family.name);
      state.limit = Math.min(1000, state.limit + MORE_ROWS);
      act.changed();
    });
    cards.set(family.name, this);
    observer.observe(this.element);
  }

  remove() {
    this.observer.unobserve(this.element);
    for (const row of this.rows.values()) this.observer.unobserve(row.element);
    inSight.delete(this.element);
    this.element.remove();
    cards.delete(this.family.name);
    if (state.open === this.family.name) Object.assign(state, { open: '', series: null, by: '' });
  }

  get open() { return state.open === this.family.name; }

  // The series that the figures and the plot show alone, if it is one.
  get one() {
    return this.open && state.series !== null ? this.family.rows.get(state.series) : undefined;
  }

  // The curves that the figures and the plot show.
  get curves() { return this.one?.curves ?? this.family.get(words()); }

  // Draws the card, and its rows that are in sight, or all.
  render(all) {
    const { family, open, curves } = this;
    const [t0, t1] = span();
    flag(this.element, 'open', open);
    flag(this.element, 'gone', family.gone);
    this.element.setAttribute('aria-expanded', open);
    this.figures(curves, this.one ? curves.last?.value : family.value, t0, t1);
    const quiet = this.element.classList.contains('quiet');
    if (!quiet) this.draw(curves, t0, t1);
    this.series_rows(open, all);
    if (all || [...this.rows.values()].every(({ element }) => inSight.has(element))) this.drawn = state.now;
    const n = exact(family.count);
    const shown = this.shown;
    write(this.series, family.gone ? 'gone' : family.count === 0 ? (quiet || family.still ? 'no series now' : '') : quiet ? '' : this.sums ? `${n} series, by ${state.by}` : shown < family.count ? `${shown} of ${n} series` : family.count === 1 || family.still && shown === family.count ? '' : `${n} series`);
    const behind = quiet || this.sums ? 0 : family.failed - [...this.rows.values()].filter((row) => row.failed).length;
    write(this.failures, behind > 0 ? `${exact(behind)} more that failed` : '');
    this.more.hidden = this.sums || shown >= family.count || (open && state.limit >= 1000);
  }

  draw(curves, t0, t1) {
    const { family, open } = this;
    const view = { t0, t1, cursor: state.cursor, drag: state.drag, unit: family.unit, axes: open ? 'full' : 'small' };
    const date = dated(num(high(family.value)), family);
    const main = { ...view, unit: family.grows && family.kind !== 'counter' ? '' : date ? 'date' : family.unit };
    if (family.still) this.at = undefined;
    else if (family.heat) this.at = draw.heat(this.canvas, curves, view);
    else if (family.kind === 'summary') this.at = draw.lines(this.canvas, this.bands(curves), view);
    else this.at = draw.curve(this.canvas, curves.main, { ...main, zero: family.grows, fill: true });
    this.key.hidden = !this.at?.most;
    if (this.at?.most) write(this.most, `${short(this.at.most)}/s`);
  }

  figures(curves, value, t0, t1) {
    const { family } = this;
    const at = moment();
    if (family.still) {
      this.big.parentElement.hidden = true;
      return;
    }
    if (family.grows) {
      const rate = curves.main.at(at);
      figure(this.big, rate, short(rate, family.kind === 'counter' ? family.unit : ''));
      write(this.sideLabel, family.kind === 'counter' ? 'total ' : 'observations ');
      figure(this.sideValue, value, family.kind === 'counter' && family.unit ? short(value, family.unit) : Number.isInteger(num(value)) ? exact(value) : short(value));
    } else {
      const then = state.cursor === null && !state.zoom ? value : curves.main.at(at);
      figure(this.big, then, held(then, family));
      const range = Array.isArray(then) ? undefined : curves.main.range(t0, t1);
      const moved = range && range[0] !== range[1];
      const odd = family.listed.some(({ last }) => Math.abs(num(last.value)) === Infinity);
      write(this.sideLabel, Array.isArray(then) ? `least and most ${odd ? 'finite ' : ''}of ${exact(family.count)}` : moved ? `${held(range[0], family)} to ${held(range[1], family)}` : '');
      figure(this.sideValue, undefined, '');
    }
    if (family.count === 0) {
      write(this.sideLabel, 'no series now');
      figure(this.sideValue, undefined, '');
    }
    if (!family.heat && family.kind !== 'summary') return;
    const all = new Map([...(family.heat ? [0.5, 0.9, 0.99] : []), ...[...curves.quantiles.keys()].sort((a, b) => a - b)].map((phi) => [phi, curves.quantiles.get(phi)]));
    this.dl.hidden = !all.size;
    for (const [phi, track] of all) {
      if (!this.quantiles.has(phi)) {
        const parts = { value: make('data'), error: make('small') };
        parts.element = make('div', {}, make('dt', {}, nameOf(phi)), make('dd', {}, parts.value, ' ', parts.error));
        this.quantiles.set(phi, parts);
        this.dl.append(parts.element);
      }
      const parts = this.quantiles.get(phi);
      const found = track?.at(at);
      const [value, least, most, error] = found ?? [];
      figure(parts.value, value, found ? bounded(found, family.unit) : '–');
      parts.element.title = least === undefined ? '' : `certainly from ${short(least, family.unit)} to ${short(most, family.unit)}`;
      write(parts.error, error === undefined ? '' : `±${Number((error * 100).toPrecision(2))}\u202f%`);
      parts.error.title = error === undefined ? '' : 'certified: by how much the rank can be wrong';
    }
    for (const [phi, { element }] of this.quantiles) element.hidden = !all.has(phi);
  }

  bands(curves) {
    const colors = ['accent-3', 'accent-4', 'accent-2'];
    const all = [...curves.quantiles].sort(([a], [b]) => a - b);
    return all.map(([, track], i) => ({
      track, value: (v) => v[0], color: colors[i % 3],
      band: (v) => [v[1] ?? v[0], v[2] ?? v[0]],
    }));
  }

  // The rows of a card that is closed: the largest, and before them those that look as if something
  // failed.
  few(found) {
    const failed = found.filter((row) => row.last.failed && !row.gone), others = found.filter((row) => !failed.includes(row));
    const limit = this.family.still ? STILL_ROWS : CLOSED_ROWS;
    return [...failed.slice(0, FAILED_ROWS), ...others.slice(0, Math.max(2, limit - failed.length))];
  }

  series_rows(open, all) {
    const { family } = this;
    this.sums = open && state.by && family.sums;
    const found = this.sums || family.shown(words());
    const rows = open ? found.slice(0, Math.max(state.limit, CLOSED_ROWS)) : this.few(found);
    if (this.one && !rows.includes(this.one) && !this.sums) rows.push(this.one);
    this.shown = rows.filter((row) => !row.gone).length;
    // A single series without labels has nothing that the figures above do not have.
    const bare = family.count <= 1 && rows.length === 1 && rows[0].labels.length === 0;
    const wanted = bare ? [] : rows;
    const now = new Set(wanted.map(({ id }) => id));
    for (const [id, row] of this.rows) {
      if (now.has(id) && row.sums === Boolean(this.sums)) continue;
      this.observer.unobserve(row.element);
      inSight.delete(row.element);
      row.element.parentElement.remove();
      this.rows.delete(id);
    }
    for (const data of wanted) if (!this.rows.has(data.id)) this.add(data);
    place(this.list, wanted.map(({ id }) => this.rows.get(id).element.parentElement));
    this.name_rows(wanted, open);
    for (const data of wanted) this.row(this.rows.get(data.id), data, open, all);
    this.list.hidden = !wanted.length;
    this.heads.hidden = family.still || !wanted.length;
  }

  // Writes the labels that tell the series apart, also from those without a row, and heads above.
  name_rows(wanted, open) {
    const { family, sums } = this;
    // Another frame may have other series.
    const key = `${open}${state.by}${family.fed} ${wanted.map(({ id }) => id).join('\n')}`;
    if (key === this.named) return;
    this.named = key;
    const names = family.kind === 'info' ? new Map() : differing(sums || family.listed, sums || family.whole);
    const heads = `${open}${state.by}${JSON.stringify([...names])}${[...family.curves.get('').quantiles.keys()]}`;
    if (heads !== this.headed) for (const row of this.rows.values()) row.named = false;
    for (const { id, labels } of wanted) {
      const row = this.rows.get(id);
      if (row.named) continue;
      row.named = true;
      // A label that a series lacks is empty.
      const parts = family.kind === 'info' ? labels.map(pill) : labels.length ? [...names].map(([name, ends]) => {
        const value = labels.find(([other]) => other === name)?.[1] ?? '';
        return make('span', {}, cut(value, open ? null : ends));
      }) : [];
      if (!parts.length) parts.push(...(labels.length ? labels.map(pill) : [make('em', {}, 'no labels')]));
      row.labels.replaceChildren(...parts);
    }
    if (heads === this.headed) return;
    this.headed = heads;
    const all = [...new Set(family.listed.flatMap(({ labels }) => labels.map(([name]) => name)))];
    this.by.hidden = !open || family.still || !all.length;
    this.by.replaceChildren('sum by ', ...all.map((name) => {
      const button = make('button', { type: 'button', 'aria-pressed': state.by === name }, name);
      button.addEventListener('click', () => act.sum(family.name, name));
      return button;
    }));
    this.heads.replaceChildren(make('span.labels', {}, ...[...names.keys()].map((name) => make('span', {}, name))), make('span'),
      make('span', {}, family.grows ? 'rate' : 'value'), make('span.more', {}, this.last_head()));
  }

  // What the last column of a card that is open has.
  last_head() {
    const { family } = this;
    if (!family.grows) return '';
    if (family.kind === 'counter') return 'total';
    const phi = family.heat ? 0.99 : Math.max(...family.curves.get('').quantiles.keys());
    return phi > 0 ? nameOf(phi) : 'observations';
  }

  add(data) {
    const { family } = this;
    const labels = make('span.labels');
    const row = { value: make('data'), more: make('data.more'), labels, sums: Boolean(this.sums) };
    if (family.still) {
      row.state = make('span.state');
      row.element = make('div.row.plain', {}, labels, ...(family.kind === 'info' ? [] : [row.state]));
    } else {
      row.canvas = canvas('', () => row.at);
      row.element = make('button.row', { type: 'button', 'aria-pressed': 'false' }, labels, row.canvas, row.value, row.more);
      row.element.addEventListener('click', () => {
        if (row.sums) return act.search(`${state.search} ${data.id}`.trim());
        const same = this.open && state.series === data.id;
        // The service could not be asked for it.
        if (encodeURIComponent(data.id).length > LONGEST / 2) return;
        if (!this.open) act.toggle(family.name);
        state.series = same ? null : data.id;
        act.changed();
      });
    }
    row.element.dataset.series = data.id;
    row.element.title = text(data.labels);
    this.list.append(make('li', {}, row.element));
    this.rows.set(data.id, row);
    this.observer.observe(row.element);
    this.named = '';
  }

  row(row, data, open, all) {
    const { family } = this;
    const { last, curves } = data;
    const [t0, t1] = span();
    row.failed = data.last.failed && !data.gone;
    flag(row.element, 'gone', data.gone);
    flag(row.element, 'failed', row.failed);
    if (row.state) {
      const on = num(last.value) === 1;
      flag(row.state, 'on', on);
      row.state.title = on ? 'now' : '';
    }
    if (!row.canvas || !(all || inSight.has(row.element))) return;
    row.element.setAttribute('aria-pressed', open && state.series === data.id);
    const at = moment();
    if (family.grows) {
      const rate = curves.main.at(at);
      figure(row.value, rate, data.gone ? 'gone' : `${short(rate, family.kind === 'counter' ? family.unit : '')}/s`);
    } else {
      const then = state.cursor === null && !state.zoom ? last.value : curves.main.at(at);
      figure(row.value, then, data.gone ? 'gone' : held(then, family));
    }
    if (open) {
      const quantiles = [...curves.quantiles].sort(([a], [b]) => a - b);
      const [, track] = quantiles.at(-1) ?? [];
      const found = track?.at(at);
      if (family.kind === 'counter') figure(row.more, last.value, short(last.value, family.unit));
      else if (found) figure(row.more, found[0], bounded(found, family.unit));
      else if (family.heat) figure(row.more, undefined, '–');
      else figure(row.more, last.value, family.grows ? exact(last.value) : '');
    }
    row.at = draw.curve(row.canvas, curves.main, { t0, t1, cursor: state.cursor, zero: family.grows });
  }

  // The figures under the pointer.
  read(offset) {
    const { family, curves } = this;
    if (family.heat) {
      const found = draw.bucket(this.canvas, curves, ...span(), state.cursor, offset, this.open ? 'full' : 'small');
      return found ? `\n${short(found.from, family.unit)} to ${short(found.to, family.unit)}: ${short(found.rate)}/s` : '';
    }
    const value = family.kind === 'summary' ? undefined : curves.main.at(state.cursor);
    if (value === undefined) return '';
    return `\n${family.grows ? `${short(value, family.unit)}/s` : held(value, family)}`;
  }
}
