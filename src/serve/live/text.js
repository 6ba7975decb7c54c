// How the page writes numbers and label values.

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
  const size = Math.abs(x);
  const text = size >= 1e9 || size < 1e-4 ? x.toExponential(2).replace('e+', 'e') : size >= 1000 ? exact(x.toFixed(0)) : String(Number(x.toPrecision(n)));
  return text.replace(/-/g, '−');
}

function scaled(x, steps) {
  const size = Math.abs(x);
  let [scale, unit] = steps[0];
  for (const [from, name] of steps) if (size >= from * 0.9995) [scale, unit] = [from, name];
  return `${digits(x / scale)}${unit ? NARROW + unit : ''}`;
}

export const TIMES = [[1e-9, 'ns'], [1e-6, 'µs'], [1e-3, 'ms'], [1, 's'], [60, 'min'], [3600, 'h'], [86400, 'd']];
export const BYTES = [[1, 'B'], [2 ** 10, 'KiB'], [2 ** 20, 'MiB'], [2 ** 30, 'GiB'], [2 ** 40, 'TiB']];
const PLAIN = [[1, ''], [1e3, 'k'], [1e6, 'M'], [1e9, 'G'], [1e12, 'T'], [1e15, 'P']];

// A number of three digits with its unit.
export function short(x, unit = '') {
  if (x === undefined || x === null) return '–';
  x = Number(x);
  const odd = special(x);
  if (odd) return odd;
  if (x === 0) return unit === 'seconds' ? `0${NARROW}s` : unit === 'bytes' ? `0${NARROW}B` : '0';
  if (unit === 'seconds') return scaled(x, TIMES);
  if (unit === 'bytes') return scaled(x, BYTES);
  if (unit === 'date') {
    const date = new Date(x * 1000);
    const pad = (n) => String(n).padStart(2, '0');
    return `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())} ${clock(date)}`;
  }
  if (unit === 'celsius') return `${digits(x)}${NARROW}°C`;
  if (unit === 'ratio') return `${digits(x * 100)}${NARROW}%`;
  const text = Math.abs(x) >= 9999.5 ? scaled(x, PLAIN) : digits(x);
  return unit ? `${text}${NARROW}${unit}` : text;
}

// Whether a value is a point in time, and not a duration.
export const dated = (x, { name }) => /(timestamp|_time)_seconds$/.test(name) && x > 1e8 && x < 1e11;

// What a gauge holds: integers up to nine digits in full, points in time as such.
export function held(x, family) {
  if (x === null) return '–';
  if (Array.isArray(x)) {
    const [least, most] = x.map((x) => held(x, family));
    const unit = /\u202f\D+$/.exec(most)?.[0];
    return least === most ? most : `${unit && least.endsWith(unit) ? least.slice(0, -unit.length) : least} – ${most}`;
  }
  const value = Number(x);
  if (dated(value, family)) return short(value, 'date');
  if (!family.unit && Number.isInteger(value) && Math.abs(value) < 1e9) return exact(value).replace('-', '−');
  return short(value, family.unit);
}

export function clock(date) {
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map((n) => String(n).padStart(2, '0')).join(':');
}

// What is known of a quantile: a value, or the one bucket that has it.
export function bounded([value, low, high], unit) {
  if (!Number.isNaN(value)) return short(value, unit);
  if (Number.isFinite(high)) return `≤${NARROW}${short(high, unit)}`;
  return Number.isFinite(low) ? `>${NARROW}${short(low, unit)}` : '–';
}

// How long ago something was, in whole units.
export function ago(seconds) {
  const [scale, unit] = seconds < 120 ? [1, 's'] : seconds < 7200 ? [60, 'min'] : [3600, 'h'];
  return `${Math.round(seconds / scale)}${NARROW}${unit} ago`;
}

// The label names whose values differ, and for each of them how many characters the values share at
// both ends, which may be left out. What all series share tells none of them apart; if these are not
// all, nobody knows what they share.
export function differing(rows, all) {
  const names = new Map();
  for (const { labels } of rows) {
    for (const [name, value] of labels) names.set(name, [...(names.get(name) ?? []), value]);
  }
  for (const [name, values] of names) {
    const [first] = values;
    let head = first.length, tail = first.length;
    for (const value of values) {
      while (!value.startsWith(first.slice(0, head))) head--;
      while (!value.endsWith(first.slice(first.length - tail))) tail--;
    }
    const different = new Set(values);
    if (all && rows.length > 1 && values.length === rows.length && different.size === 1) names.delete(name);
    else {
      const ends = values.length > 1 ? [head, tail] : [0, 0];
      // Two values never become one.
      names.set(name, new Set([...different].map((value) => cut(value, ends))).size < different.size ? null : ends);
    }
  }
  return names;
}

// The longest label value that is written in full.
const FULL = 20;

// A label value, without what others of its name share at its ends, and cut in the middle; or in full.
export function cut(value, ends) {
  if (value === '') return '""';
  if (!ends || value.length <= FULL) return value;
  const [head, tail] = ends;
  const parts = /[/._:-]/;
  let from = Math.min(head, value.length - 1), to = value.length - Math.max(0, Math.min(tail, value.length - from - 1));
  while (from > 0 && !parts.test(value[from])) from--;
  while (to < value.length && !parts.test(value[to])) to++;
  if (from < 9) from = 0;
  if (value.length - to < 4) to = value.length;
  const middle = value.slice(from, to);
  const kept = middle.length > 2 * FULL ? `${middle.slice(0, FULL)}…${middle.slice(4 - FULL)}` : middle;
  return `${from ? '…' : ''}${kept}${to < value.length ? '…' : ''}`;
}
