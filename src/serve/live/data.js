// What the page remembers of each family, and how it writes numbers.

// The longest time range in milliseconds, and so the age at which points are forgotten.
export const KEPT = 3600e3;

// The same for the quantiles of rows that are not selected: there may be a thousand.
const KEPT_IN_ROWS = 300e3;

// A pause between two points of more than this is a gap in the curve.
export let GAP = 3500;

// Services whose snapshots take long send points less often.
export function pace(seconds) {
  if (seconds) GAP = Math.max(3500, seconds * 2500);
}

// Numbers that JSON lacks come as strings: `NaN`, `Infinity`, and integers above 2^53.
export const num = (x) => (x === null || x === undefined ? NaN : Number(x));

// The service compares only ASCII letters in both cases.
export const lower = (text) => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());

// A curve: times and values, ascending.
export class Track {
  t = [];
  v = [];

  push(t, v, kept = KEPT) {
    const last = this.t[this.t.length - 1];
    // The first point of another stream may be the last one of the stream before. One that is older
    // comes after the clock of the service was set back.
    if (t === last) return;
    if (t < last) this.t.length = this.v.length = 0;
    this.t.push(t);
    this.v.push(v);
    if (this.t.length > 64 && this.t[0] < t - kept * 1.2) {
      const from = this.from(t - kept);
      this.t.splice(0, from);
      this.v.splice(0, from);
    }
  }

  // The index of the first point at or after `t`.
  from(t) {
    let low = 0, high = this.t.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if (this.t[mid] < t) low = mid + 1;
      else high = mid;
    }
    return low;
  }

  // The value at the last point at or before `t`, unless that is too long ago.
  at(t) {
    const i = this.from(t + 1) - 1;
    return i >= 0 && t - this.t[i] < GAP ? this.v[i] : undefined;
  }

  // The least and the largest number between two times.
  range(t0, t1) {
    let low = Infinity, high = -Infinity;
    for (let i = this.from(t0); i < this.t.length && this.t[i] <= t1; i++) {
      const v = this.v[i];
      if (v < low) low = v;
      if (v > high) high = v;
    }
    return low <= high ? [low, high] : undefined;
  }

  // The mean of the values of the last `ms` before `t`.
  mean(t, ms) {
    let sum = 0, n = 0;
    for (let i = this.from(t + 1) - 1; i >= 0 && this.t[i] > t - ms; i--) {
      if (!Number.isNaN(this.v[i])) { sum += this.v[i]; n++; }
    }
    return n ? sum / n : undefined;
  }
}

// What a choice of series of a family did: all that are found, or one.
class Curves {
  main = new Track(); // rate of totals and observations, or what a gauge holds
  heat = new Track(); // arrays of [from, to, count, …]
  quantiles = new Map(); // by quantile: Track of [value, at least, at most]
  last = null; // the last object from the service

  push(t, seconds, value, increase) {
    const gauge = increase === undefined;
    this.main.push(t, gauge ? num(value) : seconds ? num(increase) / seconds : NaN);
  }

  detail(t, total, kept) {
    this.last = total;
    if (total.heat) this.heat.push(t, total.heat.map(num));
    for (const [phi, ...rest] of total.quantiles ?? []) {
      if (!this.quantiles.has(phi)) this.quantiles.set(phi, new Track());
      this.quantiles.get(phi).push(t, rest.map(num), kept);
    }
  }
}

export class Family {
  constructor([name, kind, unit, help, constant]) {
    Object.assign(this, { name, kind, help, constant });
    this.unit = unit || (/_(seconds|bytes|ratio|celsius|volts|amperes|joules|grams|meters)(_total)?$/.exec(name)?.[1] ?? '');
    this.count = 0; // series found
    this.value = null;
    this.curves = new Map(); // by key
    this.rows = new Map(); // by label text
    this.shown = []; // the rows of the last frame, in order
    this.search = ''; // the search that found the rows
    this.gone = 0; // since when
  }

  get grows() { return /^(counter|histogram|summary)$/.test(this.kind); }
  get heat() { return this.kind.endsWith('histogram'); }
  get still() { return this.kind === 'info' || this.kind === 'state set'; }

  // Curves belong to the series that were found: if all words of a search are in the name, that
  // is all of them, and the search does not matter.
  key(words) {
    const own = lower([this.name, this.help, ...this.constant.map(([n, v]) => `${n}="${v}"`)].join('\n'));
    return words.every((word) => own.includes(word)) ? '' : words.join(' ');
  }

  // The curves of this key, or those of one series.
  get(key, series = null) {
    if (series !== null && this.rows.has(series)) return this.rows.get(series).curves;
    if (!this.curves.has(key)) this.curves.set(key, new Curves());
    return this.curves.get(key);
  }

  overview(t, seconds, key, [count, value, increase]) {
    this.count = count;
    this.value = value;
    this.get(key).push(t, seconds, value, this.grows ? increase : undefined);
  }

  detail(t, seconds, key, series, { total, rows }, limit, search) {
    const now = new Set();
    for (const row of rows) {
      let known = this.rows.get(row.id);
      if (!known) this.rows.set(row.id, (known = { id: row.id, labels: row.labels, curves: new Curves(), gone: 0 }));
      known.last = row;
      known.gone = 0;
      known.curves.push(t, seconds, row.value, this.grows ? (row.increase ?? null) : undefined);
      known.curves.detail(t, row, row.id === series ? KEPT : KEPT_IN_ROWS);
      now.add(known);
    }
    if (total) this.get(key, series).detail(t, total);
    // If not all series were sent, one that is missing may only be smaller than others.
    const all = rows.length < limit && search === this.search;
    this.search = search;
    const before = this.shown.filter((row) => !now.has(row) && all);
    for (const row of before) row.gone ||= t;
    this.shown = [...now, ...before.filter((row) => Math.abs(t - row.gone) < 60e3)];
    for (const [id, row] of this.rows) {
      const end = row.curves.main.t.at(-1);
      if (t - end > KEPT || (this.rows.size > 5000 && !now.has(row))) this.rows.delete(id);
    }
  }
}

// ---- Numbers as text ----

const NARROW = '\u202f';

// All digits, in groups. A string is an integer that a number cannot hold.
export function exact(x) {
  const text = String(x);
  if (!/^-?\d+$/.test(text)) return special(Number(x)) ?? text;
  return text.replace(/\B(?=(\d{3})+$)/g, NARROW);
}

function special(x) {
  if (Number.isNaN(x)) return '–';
  if (x === Infinity) return '∞';
  if (x === -Infinity) return '−∞';
}

function digits(x, n = 3) {
  const text = Math.abs(x) >= 1000 ? x.toFixed(0) : String(Number(x.toPrecision(n)));
  return text.replace('-', '−');
}

function scaled(x, steps) {
  const size = Math.abs(x);
  let [scale, unit] = steps[0];
  for (const [from, name] of steps) if (size >= from * 0.9995) [scale, unit] = [from, name];
  return `${digits(x / scale)}${unit ? NARROW + unit : ''}`;
}

const TIMES = [[1e-9, 'ns'], [1e-6, 'µs'], [1e-3, 'ms'], [1, 's'], [60, 'min'], [3600, 'h'], [86400, 'd']];
const BYTES = [[1, 'B'], [2 ** 10, 'KiB'], [2 ** 20, 'MiB'], [2 ** 30, 'GiB'], [2 ** 40, 'TiB']];
const PLAIN = [[1, ''], [1e4, ''], [1e6, 'M'], [1e9, 'G'], [1e12, 'T'], [1e15, 'P']];

// A number of three digits with its unit.
export function short(x, unit = '') {
  if (x === undefined || x === null) return '–';
  x = Number(x);
  const odd = special(x);
  if (odd) return odd;
  if (x === 0) return unit === 'seconds' ? `0${NARROW}s` : unit === 'bytes' ? `0${NARROW}B` : '0';
  if (unit === 'seconds') return scaled(x, TIMES);
  if (unit === 'bytes') return scaled(x, BYTES);
  if (unit === 'celsius') return `${digits(x)}${NARROW}°C`;
  if (unit === 'ratio') return `${digits(x * 100)}${NARROW}%`;
  const size = Math.abs(x);
  if (size < 1e-4) return x.toExponential(2).replace(/-/g, '−').replace('e+', 'e');
  let text = digits(x);
  if (size >= 1e6) text = scaled(x, PLAIN.slice(2));
  else if (size >= 1e4) text = exact(Math.round(x)).replace('-', '−');
  return unit ? `${text}${NARROW}${unit}` : text;
}

// What a gauge holds: integers up to nine digits in full, points in time as such.
export function held(x, family) {
  const value = Number(x);
  if (/(timestamp|_time)_seconds$/.test(family.name) && value > 1e8 && value < 1e11) {
    const date = new Date(value * 1000);
    const pad = (n) => String(n).padStart(2, '0');
    return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${clock(date)}`;
  }
  if (!family.unit && Number.isInteger(value) && Math.abs(value) < 1e9) return exact(value).replace('-', '−');
  return short(value, family.unit);
}

export function clock(date) {
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
}
