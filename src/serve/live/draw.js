// Curves and heat maps on canvases. Colors are those of the style sheet.

import { high, low } from './data.js';
import { BYTES, TIMES, clock, short } from './text.js';

const FONT = '11px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif';
const NAMES = ['ink', 'soft', 'faint', 'line', 'accent', 'accent-2', 'accent-3', 'accent-4', 'area', 'heat-0', 'heat-1', 'heat-2'];
let colors;
let ramp;

// Reads the colors again, after the theme changed.
export function repaint() {
  const probe = document.body.appendChild(document.createElement('span'));
  colors = {};
  for (const name of NAMES) {
    probe.style.color = `var(--${name})`;
    colors[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  const stops = ['heat-0', 'heat-1', 'heat-2'].map((name) => colors[name].match(/[\d.]+/g).map(Number));
  ramp = Array.from({ length: 64 }, (_, i) => {
    const at = (i / 63) * 2, from = stops[Math.min(1, Math.floor(at))], to = stops[Math.min(1, Math.floor(at)) + 1];
    const part = at - Math.min(1, Math.floor(at));
    return `rgb(${[0, 1, 2].map((c) => Math.round(from[c] + (to[c] - from[c]) * part)).join()})`;
  });
}

// Where the chart begins below the top of its canvas, and its height: with the axes of a card that is
// open, with those of others, or without.
function rows({ clientHeight: height }, axes) {
  return axes === 'full' ? { y: 8, h: height - 30 } : axes ? { y: 6, h: height - 25 } : { y: 3, h: height - 5 };
}

// Fits the bitmap to the element, clears it, and leaves room for the labels at the left.
function begin(canvas, axes, labels) {
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
  const g = canvas.getContext('2d');
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  g.font = axes === 'full' ? FONT : FONT.replace('11px', '10px');
  const [gap, least, right] = axes === 'full' ? [8, 58, 8] : axes ? [5, 46, 1] : [0, 1, 1];
  const x = axes ? Math.max(least, ...labels.map((text) => Math.ceil(g.measureText(text).width) + gap + 3)) : least;
  return { g, x, w: width - x - right, ...rows(canvas, axes), gap, snap: (x) => Math.round(x * ratio) / ratio };
}

const scale = (area, t0, t1) => ({
  x: (t) => area.x + ((t - t0) / (t1 - t0)) * area.w,
  t: (x) => t0 + ((x - area.x) / area.w) * (t1 - t0),
});

// The least round number of a unit that is not below `x`. A fourth of it is round, too.
function nice(x, unit, rounds = [1, 1.2, 1.6, 2, 2.4, 3, 4, 5, 6, 8, 10]) {
  if (!(x > 0)) return 1;
  const units = { bytes: BYTES, seconds: TIMES, date: TIMES }[unit] ?? [];
  const i = units.findLastIndex(([one]) => x >= one * 0.9999);
  const one = units[i]?.[0] ?? 1, n = (x / one) * 0.9999;
  // A fourth of a minute or a mebibyte is in the unit below, which is no tenth.
  if (one > 1 && n <= 4) return Math.ceil(n) * one;
  const power = 10 ** Math.floor(Math.log10(n));
  const round = rounds.find((round) => round * power >= n) * power;
  return Math.min(round * one, units[i + 1]?.[0] ?? Infinity);
}

// Limits that hold all values, and 0 unless the values are far from it; and the steps between them.
function limits(ranges, always, unit) {
  let low = Infinity, high = -Infinity;
  for (const range of ranges) {
    if (!range) continue;
    if (Number.isFinite(range[0])) low = Math.min(low, range[0]);
    if (Number.isFinite(range[1])) high = Math.max(high, range[1]);
  }
  if (low > high) return [0, 1, 1];
  if (unit === 'date') high = Math.max(high, low + 60);
  else if (always || (low >= 0 && high - low >= 0.1 * high) || low === high) {
    const most = nice(Math.max(high, -low), unit);
    if (low >= 0) return [0, most, most / 4];
    if (high <= 0) return [-most, 0, most / 4];
  }
  const step = nice((high - low) / 4, unit, [1, 2, 2.5, 5, 10]);
  return [Math.floor(low / step + 1e-9) * step, Math.ceil(high / step - 1e-9) * step, step];
}

function times(area, at, t0, t1) {
  const { g } = area;
  const steps = [5e3, 10e3, 15e3, 30e3, 60e3, 120e3, 300e3, 600e3, 900e3];
  const step = steps.find((step) => ((t1 - t0) / step) * 120 <= area.w) ?? 1800e3;
  g.fillStyle = colors.faint;
  g.textAlign = 'center';
  g.textBaseline = 'top';
  for (let t = Math.ceil(t0 / step) * step; t <= t1; t += step) {
    const x = at.x(t);
    if (x > area.x + 20 && x < area.x + area.w - 20) g.fillText(clock(new Date(t)), x, area.y + area.h + area.gap);
  }
}

function label(area, y, text) {
  const { g } = area;
  g.fillStyle = colors.faint;
  g.textAlign = 'right';
  g.textBaseline = 'middle';
  g.fillText(text, area.x - area.gap, y);
}

// The time under the pointer, and the range that is being chosen.
function hairline(area, at, { cursor, drag, t0, t1 }) {
  const { g } = area;
  g.fillStyle = colors.soft;
  if (drag) {
    const [from, to] = drag.map((t) => at.x(Math.max(t0, Math.min(t1, t))));
    g.globalAlpha = 0.16;
    g.fillRect(Math.min(from, to), area.y, Math.abs(to - from), area.h);
  }
  g.globalAlpha = 0.55;
  if (cursor && cursor >= t0 && cursor <= t1) g.fillRect(Math.round(at.x(cursor)), area.y, 1, area.h);
  g.globalAlpha = 1;
}

// Calls `each` with the stretches of points that have no gap between them.
function stretches(track, t0, t1, value, each) {
  let points = [];
  const end = () => { if (points.length) each(points); points = []; };
  for (let i = Math.max(0, track.from(t0) - 1); i < track.t.length && (track.t[i] <= t1 || track.t[i - 1] < t1); i++) {
    const v = value(track.v[i]);
    if (!track.joined(i) || !Number.isFinite(v)) end();
    // A point that stands for some seconds, and has nothing before it, is as long as these.
    if (!points.length && Number.isFinite(v) && track.d[i] > 0) points.push([track.t[i] - track.d[i], v, track.v[i]]);
    if (Number.isFinite(v)) points.push([track.t[i], v, track.v[i]]);
  }
  end();
}

function clip(area, draw) {
  area.g.save();
  area.g.beginPath();
  area.g.rect(area.x, area.y - 2, area.w, area.h + 3);
  area.g.clip();
  draw();
  area.g.restore();
}

function stroke(area, at, y, track, t0, t1, value, color, width, fill) {
  const { g } = area;
  stretches(track, t0, t1, value, (points) => {
    const line = new Path2D();
    points.forEach(([t, v], i) => (i ? line.lineTo(at.x(t), y(v)) : line.moveTo(at.x(t), y(v))));
    if (fill && points.length > 1) {
      const shape = new Path2D(line);
      shape.lineTo(at.x(points.at(-1)[0]), y(0));
      shape.lineTo(at.x(points[0][0]), y(0));
      g.fillStyle = fill;
      g.fill(shape);
    }
    if (points.length === 1) {
      g.fillStyle = color;
      g.fillRect(at.x(points[0][0]) - 1, y(points[0][1]) - 1, 2, 2);
    }
    g.strokeStyle = color;
    g.lineWidth = width;
    g.lineJoin = g.lineCap = 'round';
    g.stroke(line);
  });
}

// Draws lines with common limits. Each line is { track, value, color, fill, band }. Returns how to
// find the time at a place.
export function lines(canvas, all, view) {
  const { t0, t1, unit, axes, zero } = view;
  const range = ({ track, value, band }) => {
    let low = Infinity, high = -Infinity;
    for (let i = track.from(t0); i < track.t.length && track.t[i] <= t1; i++) {
      for (const v of [value(track.v[i]), ...(band ? band(track.v[i]) : [])]) {
        if (!Number.isFinite(v)) continue;
        low = Math.min(low, v);
        high = Math.max(high, v);
      }
    }
    return [low, high];
  };
  const ranges = all.map(range);
  const [low, high, step] = limits(ranges, zero, unit);
  const steps = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => (Math.round(low / step) + i) * step);
  const marks = axes === 'full' ? steps : axes ? [low, high] : [];
  const labels = axes && ranges.some(([low, high]) => low <= high) ? marks.map((v) => short(v, unit)) : [];
  const area = begin(canvas, axes, labels);
  if (area.w < 4 || area.h < 4) return;
  const at = scale(area, t0, t1);
  const y = (v) => area.y + area.h - ((v - low) / (high - low)) * area.h;
  const { g } = area;
  g.fillStyle = colors.line;
  for (const v of [...marks, Math.max(low, Math.min(high, 0))]) g.fillRect(area.x, Math.round(y(v)), area.w, 1);
  labels.forEach((text, i) => label(area, y(marks[i]), text));
  if (axes) times(area, at, t0, t1);
  clip(area, () => {
    for (const { track, band, color } of all) {
      if (!band) continue;
      g.fillStyle = colors[color];
      g.globalAlpha = 0.2;
      stretches(track, t0, t1, (v) => band(v)[0], (points) => {
        const shape = new Path2D();
        for (const [t, , v] of points) shape.lineTo(at.x(t), y(band(v)[1]));
        for (const [t, from] of points.reverse()) shape.lineTo(at.x(t), y(from));
        g.fill(shape);
      });
      g.globalAlpha = 1;
    }
    for (const { track, value, color, fill } of all) {
      stroke(area, at, y, track, t0, t1, value, colors[color], axes === 'full' ? 1.6 : 1.4, fill && low <= 0 && high >= 0 && colors.area);
    }
  });
  hairline(area, at, view);
  return at;
}

// Draws a rate, or what a gauge holds. If its series do not add up, that is a range.
export function curve(canvas, track, { fill, ...view }) {
  const line = { track, value: high, color: 'accent', fill };
  const i = track.index(view.t1);
  if (!Array.isArray(track.v[i < 0 ? track.v.length - 1 : i])) return lines(canvas, [line], view);
  return lines(canvas, [{ ...line, fill: false, band: (v) => [low(v), high(v)] }, { track, value: low, color: 'accent' }], view);
}

// The bounds of all buckets in sight, and where they are: each bucket as high as the others. Of
// exponential buckets, which have no fixed list, those that are empty count, too.
function ladder(track, t0, t1) {
  const found = new Set();
  for (let i = track.from(t0); i < track.t.length && track.t[i] <= t1; i++) {
    const cells = track.v[i];
    for (let j = 0; j < cells.length; j += 3) found.add(cells[j]).add(cells[j + 1]);
  }
  const bounds = [...found].sort((a, b) => a - b);
  const finite = bounds.filter(Number.isFinite);
  // If the steps are as in exponential buckets, distances on the scale are those of logarithms.
  const step = finite.length > 1 && finite[0] > 0
    ? Math.min(...finite.slice(1).map((bound, i) => Math.log(bound / finite[i])))
    : 0;
  const places = new Map();
  let place = 0;
  bounds.forEach((bound, i) => {
    const before = bounds[i - 1];
    if (i) {
      const wide = step && step < 0.7 && Number.isFinite(before) && Number.isFinite(bound) ? Math.log(bound / before) / step : 1;
      place += Math.max(1, Math.min(wide, 200));
    }
    places.set(bound, place);
  });
  return { bounds, places, height: place || 1 };
}

// Draws counts per bucket over time, and quantiles as lines on top. What it returns has in `most` the
// observations per second of the darkest cell.
export function heat(canvas, curves, view) {
  const { t0, t1, unit, axes } = view;
  const { bounds, places, height } = ladder(curves.heat, t0, t1);
  const { y: top, h } = rows(canvas, axes);
  const y = (place) => top + h - (place / height) * h;
  const marks = [];
  for (const bound of bounds.filter(Number.isFinite)) {
    const place = y(places.get(bound));
    if (!marks.length || marks.at(-1).place - place >= (axes === 'full' ? 15 : 24)) marks.push({ place, text: short(bound, unit) });
  }
  const area = begin(canvas, axes, marks.map(({ text }) => text));
  if (area.w < 4 || area.h < 4) return;
  const at = scale(area, t0, t1);
  const { g } = area;
  times(area, at, t0, t1);
  if (bounds.length < 2) {
    g.fillStyle = colors.line;
    g.fillRect(area.x, area.y + area.h - 1, area.w, 1);
    hairline(area, at, view);
    return at;
  }
  // One column is at least two points wide: counts of several seconds add up. The shade is that of
  // the observations per second, because points of the past stand for more than one.
  const track = curves.heat;
  const width = Math.max(1000, ((t1 - t0) / area.w) * 2);
  const columns = new Map();
  let most = 0;
  for (let i = track.from(t0 - width); i < track.t.length && track.t[i] - track.d[i] < t1; i++) {
    const number = Math.ceil(track.t[i] / width - 0.5);
    if (!columns.has(number)) columns.set(number, { from: Infinity, to: -Infinity, ms: 0, cells: new Map() });
    const column = columns.get(number);
    const before = track.joined(i) ? track.t[i - 1] : track.t[i] - (track.d[i] || 1000);
    column.from = Math.min(column.from, before);
    column.ms += track.t[i] - before;
    column.to = Math.max(column.to, track.t[i]);
    const cells = track.v[i];
    for (let j = 0; j < cells.length; j += 3) {
      const key = `${cells[j]}|${cells[j + 1]}`;
      const cell = column.cells.get(key) ?? { from: cells[j], to: cells[j + 1], n: 0 };
      cell.n += cells[j + 2];
      column.cells.set(key, cell);
    }
  }
  for (const { cells, ms } of columns.values()) {
    for (const cell of cells.values()) most = Math.max(most, (cell.n /= ms));
  }
  at.most = most * 1000;
  clip(area, () => {
    g.fillStyle = ramp[0];
    g.globalAlpha = 0.35;
    for (const { from, to } of columns.values()) {
      const [x0, x1] = [area.snap(at.x(from)), area.snap(at.x(to))];
      g.fillRect(x0, area.y, x1 - x0, area.h);
    }
    g.globalAlpha = 1;
    for (const { from, to, cells } of columns.values()) {
      const [x0, x1] = [area.snap(at.x(from)), area.snap(at.x(to))];
      for (const cell of cells.values()) {
        const [top, bottom] = [area.snap(y(places.get(cell.to))), area.snap(y(places.get(cell.from)))];
        g.fillStyle = ramp[Math.max(4, Math.round(63 * Math.sqrt(cell.n / most)))];
        g.fillRect(x0, top, Math.max(1, x1 - x0), Math.max(1, bottom - top));
      }
    }
  });
  if (axes === 'full') {
    // Quantiles, between the bounds of their buckets.
    const place = (v) => {
      const i = bounds.findIndex((bound) => bound >= v);
      if (i < 1) return i < 0 ? height : 0;
      const [from, to] = [bounds[i - 1], bounds[i]], [low, high] = [places.get(from), places.get(to)];
      const part = Number.isFinite(from) && Number.isFinite(to) ? (v - from) / (to - from) : Number.isFinite(to) && to > 0 ? v / to : 0.5;
      return low + (high - low) * Math.max(0, Math.min(1, part));
    };
    const all = [...curves.quantiles].sort(([a], [b]) => a - b);
    clip(area, () => all.forEach(([, track], i) => {
      stroke(area, at, (v) => y(place(v)), track, t0, t1, (v) => v[0], colors[['accent-3', 'accent-4', 'accent-2'][i % 3]], 1.6);
    }));
  }
  for (const { place, text } of marks) label(area, place, text);
  hairline(area, at, view);
  return at;
}

// The bucket at a height of a heat map, and its observations per second at a time.
export function bucket(canvas, curves, t0, t1, t, offset, axes) {
  const { y: top, h } = rows(canvas, axes);
  const { bounds, places, height } = ladder(curves.heat, t0, t1);
  const place = (1 - (offset - top) / h) * height;
  const i = bounds.findIndex((bound) => places.get(bound) > place);
  const at = curves.heat.index(t), cells = curves.heat.v[at];
  if (i < 1 || !cells) return;
  let n = 0;
  for (let j = 0; j < cells.length; j += 3) if (cells[j] < bounds[i] && cells[j + 1] >= bounds[i]) n += cells[j + 2];
  return { from: bounds[i - 1], to: bounds[i], rate: n / ((curves.heat.d[at] || 1000) / 1000) };
}
