// What the page remembers of each family.

// The longest time range in milliseconds, and so the age at which points are forgotten.
export const KEPT = 3600e3;

// The same for heat maps and quantiles of rows that are not selected: there may be a thousand.
const KEPT_IN_ROWS = 300e3;

// A rate is that of the last five seconds, and so are the quantiles of a histogram.
const OVER = 5000;

// Two points with more than this between them are not joined: nothing is known there.
const SLACK = 2500;

// Numbers that JSON lacks come as strings: `NaN`, `Infinity`, and integers above 2^53.
export const num = (x) => (x === null || x === undefined ? NaN : Number(x));

// A gauge whose series do not add up holds a range.
export const low = (v) => (Array.isArray(v) ? v[0] : v);
export const high = (v) => (Array.isArray(v) ? v[1] : v);

// The service compares only ASCII letters in both cases.
export const lower = (text) => text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());

// A curve: times and values, ascending, and for how many milliseconds before its time each stands.
export class Track {
  t = [];
  v = [];
  d = [];

  push(t, v, d = 0, kept = KEPT) {
    const last = this.t[this.t.length - 1];
    // The first point of another stream may be the last one of the stream before. One that is older
    // comes after the clock of the service was set back.
    if (t === last) return;
    if (t < last) this.t.length = this.v.length = this.d.length = 0;
    this.t.push(t);
    this.v.push(v);
    this.d.push(d);
    if (this.t.length > 64 && this.t[0] < t - kept * 1.2) {
      const from = this.from(t - kept);
      for (const list of [this.t, this.v, this.d]) list.splice(0, from);
    }
  }

  // Adds a point from the past for the part of its time of which nothing is known. `part` makes the
  // value of that share.
  insert(t, v, d, part = (v) => v) {
    const i = this.from(t);
    const begin = Math.max(t - d, this.t[i - 1] ?? -Infinity);
    const end = Math.min(t, i < this.t.length ? this.t[i] - this.d[i] : Infinity);
    if (end - begin < 200) return;
    this.t.splice(i, 0, end);
    this.v.splice(i, 0, part(v, (end - begin) / d));
    this.d.splice(i, 0, end - begin);
  }

  // The index of the first point at or after `t`.
  from(t) {
    let from = 0, to = this.t.length;
    while (from < to) {
      const mid = (from + to) >> 1;
      if (this.t[mid] < t) from = mid + 1;
      else to = mid;
    }
    return from;
  }

  // Whether nothing is missing between a point and the one before.
  joined(i) {
    return i > 0 && this.t[i] - this.d[i] - this.t[i - 1] <= SLACK;
  }

  // The index of the point that stands for `t`, or of the one before, unless that is too long ago.
  index(t) {
    const i = this.from(t);
    if (i < this.t.length && t > this.t[i] - Math.max(1, this.d[i])) return i;
    return i > 0 && t - this.t[i - 1] < SLACK + 1000 ? i - 1 : -1;
  }

  at(t) {
    return this.v[this.index(t)];
  }

  // The least and the largest number between two times.
  range(t0, t1) {
    let least = Infinity, most = -Infinity;
    for (let i = this.from(t0); i < this.t.length && this.t[i] <= t1; i++) {
      if (low(this.v[i]) < least) least = low(this.v[i]);
      if (high(this.v[i]) > most) most = high(this.v[i]);
    }
    return least <= most ? [least, most] : undefined;
  }

  // By how much the curve moves between two times, and has moved within the last ten seconds.
  movement(t0, t1) {
    let n = 0, sum = 0, squares = 0, m = 0, late = 0;
    for (let i = this.from(t0); i < this.t.length && this.t[i] <= t1; i++) {
      const v = high(this.v[i]);
      if (!Number.isFinite(v)) continue;
      n++;
      sum += v;
      squares += v * v;
      if (this.t[i] > t1 - 10e3) { m++; late += v; }
    }
    if (!n) return 0;
    const mean = sum / n, deviation = Math.sqrt(Math.max(0, squares / n - mean * mean));
    if (!(deviation > 1e-9 * Math.abs(mean))) return 0;
    return deviation / (Math.abs(mean) + deviation) + (m ? Math.min(4, Math.abs(late / m - mean) / deviation) : 0);
  }
}

// The buckets with observations of the last seconds, ascending: [from, to, count].
function cells(heat, t) {
  const all = new Map();
  for (let i = heat.from(t + 1) - 1; i >= 0 && heat.t[i] > t - OVER; i--) {
    for (let j = 0; j < heat.v[i].length; j += 3) {
      const [from, to, n] = heat.v[i].slice(j, j + 3);
      const cell = all.get(to) ?? [from, to, 0];
      cell[2] += n;
      all.set(to, cell);
    }
  }
  return [...all.values()].sort((a, b) => a[1] - b[1]);
}

// A quantile, and the bucket that certainly has it. If there are no observations outside of one
// bucket, or if it has no end, more than that is not known.
function quantile(buckets, phi) {
  let rank = phi * buckets.reduce((sum, [, , n]) => sum + n, 0);
  const [from, to, n] = buckets.find(([, , n]) => (rank -= n) <= 0) ?? buckets.at(-1);
  const least = from === -Infinity && to > 0 ? 0 : from;
  const known = buckets.length > 1 && Number.isFinite(least) && Number.isFinite(to);
  return [known ? to + (to - least) * Math.max(-1, rank / n) : NaN, from, to];
}

// What a choice of series of a family did.
export class Curves {
  main = new Track(); // rate of totals and observations, or what a gauge holds
  heat = new Track(); // arrays of [from, to, count, …]
  quantiles = new Map(); // by quantile: Track of [value, at least, at most]
  last = null; // the last object from the service
  recent = []; // the increases of the last seconds

  push(t, seconds, value, increase) {
    if (increase === undefined) {
      this.main.push(t, Array.isArray(value) ? value.map(num) : num(value), (seconds ?? 0) * 1000);
    } else if (seconds) {
      this.recent.push([t, num(increase), seconds]);
      this.recent = this.recent.filter(([at]) => at > t - OVER && at <= t);
      const sum = (i) => this.recent.reduce((sum, point) => sum + point[i], 0);
      this.main.push(t, sum(1) / sum(2), seconds * 1000);
    } else this.main.push(t, NaN);
  }

  detail(t, seconds, { heat, quantiles }, kept) {
    if (heat) {
      this.heat.push(t, heat.map(num), (seconds ?? 0) * 1000, kept);
      const buckets = cells(this.heat, t);
      quantiles = buckets.length ? [0.5, 0.9, 0.99].map((phi) => [phi, ...quantile(buckets, phi)]) : [];
    }
    for (const [phi, ...rest] of quantiles ?? []) this.quantile(phi).push(t, rest.map(num), (seconds ?? 0) * 1000, kept);
  }

  // Adds what the service remembers, where the page knows nothing.
  past(t, seconds, { value, increase, heat, quantiles }, grows) {
    const d = seconds * 1000;
    if (!grows) this.main.insert(t, Array.isArray(value) ? value.map(num) : num(value), d);
    else if (increase !== null && increase !== undefined) this.main.insert(t, num(increase) / seconds, d);
    if (heat) {
      const share = (cells, share) => cells.map((x, i) => (i % 3 === 2 ? x * share : x));
      this.heat.insert(t, heat.map(num), d, share);
      const buckets = cells(this.heat, t);
      quantiles = buckets.length ? [0.5, 0.9, 0.99].map((phi) => [phi, ...quantile(buckets, phi)]) : [];
    }
    for (const [phi, ...rest] of quantiles ?? []) this.quantile(phi).insert(t, rest.map(num), d);
  }

  quantile(phi) {
    if (!this.quantiles.has(phi)) this.quantiles.set(phi, new Track());
    return this.quantiles.get(phi);
  }
}

// What several series did together, at the times at which all of them are known, and from `since`
// on, when all series of the family are. A value that is a range stays one.
function together(all, since, value) {
  const curves = new Curves();
  const points = new Map(), heats = new Map();
  for (const { curves: { main, heat } } of all) {
    main.t.forEach((t, i) => {
      const point = points.get(t) ?? { n: 0, d: main.d[i], values: [] };
      point.n++;
      if (!Number.isNaN(low(main.v[i]))) point.values.push(main.v[i]);
      points.set(t, point);
    });
    heat.t.forEach((t, i) => {
      const point = heats.get(t) ?? { n: 0, d: heat.d[i], cells: [] };
      point.n++;
      point.cells.push(...heat.v[i]);
      heats.set(t, point);
    });
  }
  const known = (t, { n }) => n === all.length || t >= since;
  const sorted = (map) => [...map].filter(([t, point]) => known(t, point)).sort(([a], [b]) => a - b);
  for (const [t, { d, values }] of sorted(points)) {
    const sum = values.reduce((a, b) => a + high(b), 0);
    const finite = values.flat().filter(Number.isFinite), all = finite.length ? finite : values.flat();
    const range = [Math.min(...all), Math.max(...all)];
    curves.main.push(t, !values.length ? NaN : Array.isArray(value) ? range : sum, d);
  }
  for (const [t, { d, cells }] of sorted(heats)) curves.detail(t, d / 1000, { heat: cells });
  if (all.length === 1 && !curves.quantiles.size) {
    for (const [phi, { t, v, d }] of all[0].curves.quantiles) t.forEach((at, i) => curves.quantile(phi).push(at, v[i], d[i]));
  }
  return curves;
}

export class Family {
  constructor([name, kind, unit, help, constant]) {
    Object.assign(this, { name, kind, help, constant });
    this.unit = unit || (/_(seconds|bytes|ratio|celsius|volts|amperes|joules|grams|meters)(_total)?$/.exec(name)?.[1] ?? '');
    this.own = lower([name, help, ...constant.map(([n, v]) => `${n}="${v}"`)].join('\n'));
    this.count = 0; // series found
    this.value = null;
    this.found = true; // whether the search finds all series, or [series, value, increase], or null
    this.curves = new Map([['', new Curves()]]); // of all series, and by search of those found
    this.rows = new Map(); // by label text
    this.groups = new Map(); // by label text: rows that are sums
    this.listed = []; // the rows of the last frame, in order, and those that are gone
    this.since = Infinity; // since when all series have been sent
    this.fed = 0; // when the last series were sent
    this.gone = 0; // since when
  }

  get grows() { return /^(counter|histogram|summary)$/.test(this.kind); }
  get heat() { return this.kind.endsWith('histogram'); }
  get still() { return this.kind === 'info' || this.kind === 'state set'; }

  // The words of a search that only labels can have.
  rest(words) { return words.filter((word) => !this.own.includes(word)); }

  // The rows that a search finds.
  shown(words) {
    const rest = this.rest(words);
    return rest.length ? this.listed.filter(({ id }) => rest.every((word) => lower(id).includes(word))) : this.listed;
  }

  // Whether the rows are all series.
  get whole() { return this.since !== Infinity; }

  // The curves of the series that a search finds. If the page knows them all, it knows what they did.
  get(words) {
    const key = Array.isArray(this.found) ? words.join(' ') : '';
    if (!this.curves.has(key)) {
      const rows = this.shown(words).filter((row) => !row.gone);
      for (const other of this.curves.keys()) if (other !== '') this.curves.delete(other);
      this.curves.set(key, rows.length === this.found[0] ? together(rows, this.since, this.found[1]) : new Curves());
    }
    return this.curves.get(key);
  }

  // Whether nothing has happened for a minute, or as long as the page knows; or there never was a
  // series.
  quiet(now) {
    if (this.still) return this.kind === 'info';
    const { main } = this.curves.get('');
    const range = main.range(main.t[0], now);
    if (!this.count && !range) return true;
    if (!main.t.length || now - main.t[0] < 60e3) return false;
    return !range || (this.grows ? range[1] === 0 : range[0] === range[1]);
  }

  push(t, seconds, all, found, words) {
    const grows = (increase) => (this.grows ? increase : undefined);
    this.found = found;
    const [count, value] = Array.isArray(found) ? found : all;
    Object.assign(this, { count, value });
    this.series = all[0];
    this.curves.get('').push(t, seconds, all[1], grows(all[2]));
    if (Array.isArray(found)) this.get(words).push(t, seconds, found[1], grows(found[2]));
  }

  detail(t, seconds, { total, found, failed, rows, groups }, words, series) {
    if (total) {
      this.curves.get('').detail(t, seconds, total);
      this.curves.get('').last = total;
    }
    const list = rows.map((row) => this.row(this.rows, t, seconds, row, row.id === series));
    this.since = rows.length < this.series ? Infinity : Math.min(this.since, t);
    this.failed = failed ?? 0; // series found that look as if something failed
    this.fed = t;
    const now = new Set(list);
    // If not all series were sent, one that is missing may only be smaller than others.
    const gone = this.since === Infinity ? [] : this.listed.filter((row) => !now.has(row));
    for (const row of gone) row.gone ||= t;
    this.listed = [...list, ...gone.filter((row) => Math.abs(t - row.gone) < 60e3)];
    for (const [id, row] of this.rows) {
      const end = row.curves.main.t.at(-1);
      if (t - end > KEPT || (this.rows.size > 5000 && !now.has(row))) this.rows.delete(id);
    }
    if (found && Array.isArray(this.found)) {
      this.get(words).detail(t, seconds, found);
      this.get(words).last = found;
    }
    this.sums = groups?.map((group) => {
      if (!this.groups.has(group.id)) {
        // What its series did, if the page knows them all.
        const parts = this.shown(words).filter((row) => !row.gone && row.labels.some((label) => label.join() === group.labels[0].join()));
        const curves = this.since === Infinity ? new Curves() : together(parts, this.since, group.value);
        this.groups.set(group.id, { id: group.id, labels: group.labels, curves, gone: 0 });
      }
      return this.row(this.groups, t, seconds, group, true);
    });
    if (!groups) this.groups.clear();
  }

  row(all, t, seconds, data, selected) {
    let row = all.get(data.id);
    if (!row) all.set(data.id, (row = { id: data.id, labels: data.labels, curves: new Curves(), gone: 0 }));
    row.last = row.curves.last = data;
    row.gone = 0;
    row.curves.push(t, seconds, data.value, this.grows ? (data.increase ?? null) : undefined);
    row.curves.detail(t, seconds, data, selected ? KEPT : KEPT_IN_ROWS);
    return row;
  }

  past(t, seconds, all) {
    this.curves.get('').past(t, seconds, all, this.grows);
    this.fed = Math.max(this.fed, t);
  }
}
