//! The maximum width of a tuple: the concave bound `h`, derived from the objectives.
//!
//! Each objective gives one line through `(phi, eps)`, which is falling, flat or rising. A flat
//! line is the cap of them all, and `h` is the minimum of the lines. The chosen slopes minimize the
//! integral of `1 / h`, to which the size of the sketch is proportional.

use super::targets::{MAX_TARGETS, Targets};

/// The part of the steepest slope that keeps `h` positive on `0..=1`. At 1, `h` is 0 at one end,
/// and the sketch grows without limit there. The largest number of tuples over adversarial orders
/// at n = 1e6 is 3 977 at 0.5, 388 at 0.8, and 507 at 0.9.
const STEEPNESS: f64 = 0.8;

/// The limit on slopes. It keeps the lines of quantiles near 0 and 1 within the precision of `f64`.
/// Such a line is the lowest one only within 0.02 of its end anyway.
const STEEPEST: f64 = 1e3;

/// The cap in units of the smallest error. It limits the uncertainty that a new tuple inherits.
const CAP: f64 = 20.0;

/// The bound on the widths of tuples: `h(x) = min(at_zero + slope * x)` over the lines.
///
/// ```
/// use tallies::snapshot::sketch::{Bound, Targets};
///
/// let bound = Bound::new(&Targets::new(&[(0.9, 0.01)]));
/// assert!(bound.at(0.9) <= 0.01 + 1e-12);
/// // A tuple in the middle of 1 000 values may be wider than one at the objective.
/// assert!(bound.widest(500, 500, 1000) > bound.widest(900, 900, 1000));
/// ```
///
/// A tuple with the ranks `low..=high` of `n` may be `F = 2 * n * h` wide, at the rank where that
/// is smallest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    lines: [Line; MAX_TARGETS + 1],
    len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Line {
    at_zero: f64,
    slope: f64,
}

impl Bound {
    /// Creates the bound for these objectives. Tries every combination of slopes, at most 3^7, so
    /// it is made for the declaration of a family.
    pub fn new(targets: &Targets) -> Self {
        let least = least_of(targets.inner().map(|(_, eps)| eps));
        // Without inner objectives, only the ends matter, and one tuple may span everything between
        // them.
        let cap = if least.is_finite() { CAP * least } else { 0.5 };
        let combinations = 3usize.pow(targets.inner().count() as u32);
        let (mut best, mut least_cost) = Self::with_slopes(targets, cap, 0);
        for combination in 1..combinations {
            let (bound, cost) = Self::with_slopes(targets, cap, combination);
            if cost < least_cost {
                (best, least_cost) = (bound, cost);
            }
        }
        best
    }

    /// Returns `h` at `x`, a rank as a fraction of `n`.
    pub fn at(&self, x: f64) -> f64 {
        least_of(self.lines().iter().map(|line| line.at(x)))
    }

    /// Returns F, the maximum width of a tuple that covers the ranks `low..=high` of `n`. A tuple
    /// of one value is always allowed.
    pub fn widest(&self, low: u64, high: u64, n: u64) -> f64 {
        let (low, high, n) = (low as f64, high as f64, n as f64);
        // Each line is lowest at one end of the interval.
        let rank = |line: &Line| if line.slope < 0.0 { high } else { low };
        let widest = |line: &Line| 2.0 * (line.at_zero * n + line.slope * rank(line));
        least_of(self.lines().iter().map(widest))
    }

    /// Returns the bound for `n` values, made `scale` times as wide.
    pub(super) fn capacity(&self, n: u64, scale: f64) -> Capacity {
        let mut capacity = Capacity {
            lines: [(0.0, 0.0, 0.0); MAX_TARGETS + 1],
            len: self.len,
            cap: scale * f64::from(u32::MAX),
        };
        for (terms, line) in capacity.lines.iter_mut().zip(self.lines()) {
            let flat = 2.0 * scale * line.at_zero * n as f64;
            let slope = 2.0 * scale * line.slope;
            // g + delta <= flat + slope * rank, solved for g. A falling line is lowest at the upper
            // rank of the tuple, rank + delta; a rising one at its lower rank, rank - g.
            let falls = slope < 0.0;
            *terms = if falls {
                (flat, slope, 1.0 - slope)
            } else {
                let rise = 1.0 + slope;
                (flat / rise, slope / rise, 1.0 / rise)
            };
        }
        capacity
    }

    fn lines(&self) -> &[Line] {
        &self.lines[..self.len]
    }

    /// Returns the bound with the slopes that the ternary digits of `combination` select, and its
    /// cost.
    fn with_slopes(targets: &Targets, cap: f64, mut combination: usize) -> (Self, f64) {
        let mut lines = [Line {
            at_zero: cap,
            slope: 0.0,
        }; MAX_TARGETS + 1];
        for ((phi, eps), line) in targets.inner().zip(&mut lines[1..]) {
            let falling = (STEEPNESS * eps / (1.0 - phi)).min(STEEPEST);
            let rising = (STEEPNESS * eps / phi).min(STEEPEST);
            let slope = [0.0, -falling, rising][combination % 3];
            let at_zero = eps - slope * phi;
            *line = Line { at_zero, slope };
            combination /= 3;
        }
        Self::envelope(&lines)
    }

    /// Returns the bound of the lines that are lowest somewhere in `0..=1`, from left to right, and
    /// the integral of its `1 / h`.
    fn envelope(lines: &[Line; MAX_TARGETS + 1]) -> (Self, f64) {
        let lower = |a: Line, b: &Line| match (b.at_zero, b.slope) < (a.at_zero, a.slope) {
            true => *b,
            false => a,
        };
        let mut line = lines.iter().fold(lines[0], lower);
        let mut bound = Self {
            lines: [line; MAX_TARGETS + 1],
            len: 0,
        };
        let (mut x, mut cost) = (0.0, 0.0);
        loop {
            bound.lines[bound.len] = line;
            bound.len += 1;
            let steeper = lines.iter().filter(|other| other.slope < line.slope);
            let at = |other: &Line| (other.at_zero - line.at_zero) / (line.slope - other.slope);
            let crossings = steeper.map(|other| (at(other), *other));
            let next =
                crossings.min_by(|(a, l), (b, m)| a.total_cmp(b).then(l.slope.total_cmp(&m.slope)));
            let end = next.map_or(1.0, |(crossing, _)| crossing.clamp(x, 1.0));
            cost += line.cost(x, end);
            match next {
                Some((crossing, other)) if crossing < 1.0 => (x, line) = (end, other),
                _ => return (bound, cost),
            }
        }
    }
}

/// Returns the least of these numbers; infinity if there are none.
fn least_of(numbers: impl Iterator<Item = f64>) -> f64 {
    numbers.fold(f64::INFINITY, f64::min)
}

impl Line {
    fn at(&self, x: f64) -> f64 {
        self.at_zero + self.slope * x
    }

    /// Returns the integral of `1 / line` from `from` to `to`.
    fn cost(&self, from: f64, to: f64) -> f64 {
        if self.slope == 0.0 {
            (to - from) / self.at_zero
        } else {
            (self.slope * (to - from) / self.at(from)).ln_1p() / self.slope
        }
    }
}

/// A bound at a fixed `n`, in the form that a pass over the tuples evaluates.
pub(super) struct Capacity {
    /// The capacity of a tuple under each line: `.0 + .1 * rank - .2 * delta`.
    lines: [(f64, f64, f64); MAX_TARGETS + 1],
    len: usize,
    /// Keeps `g + delta`, which a later tuple may inherit, within 32 bits.
    cap: f64,
}

impl Capacity {
    /// Returns the largest `g` of a tuple with this `delta` whose lowest rank is `rank`.
    #[inline]
    pub(super) fn max_g(&self, rank: f64, delta: u32) -> u32 {
        let delta = f64::from(delta);
        let mut max_g = self.cap - delta;
        for (flat, per_rank, per_delta) in &self.lines[..self.len] {
            let line = flat + per_rank * rank - per_delta * delta;
            max_g = if line < max_g { line } else { max_g };
        }
        max_g as u32
    }
}

#[cfg(all(test, not(loom), not(miri)))]
mod tests {
    use super::*;

    const N: u64 = 100_000;

    /// Bounds with falling, flat and rising lines, and one with only the cap.
    fn bounds() -> impl Iterator<Item = (&'static [(f64, f64)], Bound)> {
        let all: [&[(f64, f64)]; 5] = [
            &[(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)],
            &[(0.01, 0.001), (0.5, 0.05), (0.99, 0.001)],
            &[(0.1, 0.01), (0.25, 0.005)],
            &[(0.5, 0.05)],
            &[],
        ];
        all.into_iter()
            .map(|pairs| (pairs, Bound::new(&Targets::new(pairs))))
    }

    #[test]
    fn a_tuple_is_as_wide_as_is_allowed_at_every_rank_it_covers() {
        for (pairs, bound) in bounds() {
            for (low, high) in [(0, 10), (400, 90_000), (30_000, 30_001), (89_000, N)] {
                let allowed = (low..=high).map(|rank| {
                    let part = rank as f64 / N as f64;
                    2.0 * N as f64 * bound.at(part)
                });
                let least = allowed.fold(f64::INFINITY, f64::min);
                let widest = bound.widest(low, high, N);
                assert!(
                    (widest / least - 1.0).abs() < 1e-9,
                    "{pairs:?}: {low} to {high}"
                );
            }
        }
    }

    #[test]
    fn there_is_room_for_all_that_is_allowed_and_no_more() {
        for (pairs, bound) in bounds().filter(|(pairs, _)| !pairs.is_empty()) {
            for (scale, delta) in [(1.0, 0), (1.0, 7), (3.0, 0), (3.0, 100)] {
                let capacity = bound.capacity(N, scale);
                for rank in (40_000..N).step_by(997) {
                    let spare = |g: u64| {
                        let widest = bound.widest(rank - g, rank + u64::from(delta), N);
                        scale * widest - (g + u64::from(delta)) as f64
                    };
                    let max_g = u64::from(capacity.max_g(rank as f64, delta));
                    let at = format!("{pairs:?}, scale {scale}, {delta} at {rank}: {max_g}");
                    assert!(max_g == 0 || spare(max_g) > -1e-6, "{at}");
                    assert!(spare(max_g + 1) < 1e-6, "{at}");
                }
            }
        }
    }

    #[test]
    fn widths_stay_within_32_bits() {
        for (pairs, bound) in bounds() {
            let capacity = bound.capacity(1 << 41, 1.0);
            for delta in [0, 1, 1000] {
                let max_g = capacity.max_g((1_u64 << 39) as f64, delta);
                assert_eq!(max_g, u32::MAX - delta, "{pairs:?}");
            }
        }
    }

    /// Returns the integral of `1 / h` by the midpoint rule.
    fn cost(h: impl Fn(f64) -> f64) -> f64 {
        const STEPS: u32 = 4096;
        let middle = |i| (f64::from(i) + 0.5) / f64::from(STEPS);
        (0..STEPS).map(|i| 1.0 / h(middle(i))).sum::<f64>() / f64::from(STEPS)
    }

    #[test]
    fn a_line_costs_its_integral() {
        for (at_zero, slope) in [(0.5, 0.0), (0.5, -0.4), (0.1, 0.3)] {
            let line = Line { at_zero, slope };
            let half = cost(|x| line.at(0.25 + x / 2.0)) / 2.0;
            assert!(
                (line.cost(0.25, 0.75) / half - 1.0).abs() < 1e-6,
                "{line:?}"
            );
        }
    }

    #[test]
    fn no_other_slopes_make_a_smaller_sketch() {
        let all: [&[(f64, f64)]; 6] = [
            &[(0.5, 0.05), (0.9, 0.01), (0.99, 0.001)],
            &[(0.01, 0.001), (0.5, 0.05), (0.99, 0.001)],
            &[(0.1, 0.01), (0.25, 0.005)],
            &[(0.2, 0.05), (0.3, 0.01), (0.7, 0.02)],
            &[(0.999_999, 0.01)],
            &[(0.000_001, 0.01), (0.5, 0.02)],
        ];
        for pairs in all {
            let least = pairs.iter().map(|(_, eps)| *eps).fold(1.0, f64::min);
            let best = (0..3_usize.pow(pairs.len() as u32)).map(|combination| {
                cost(|x| {
                    let lines = pairs.iter().enumerate().map(|(i, (phi, eps))| {
                        let rising = (0.8 * eps / phi).min(1000.0);
                        let falling = (-0.8 * eps / (1.0 - phi)).max(-1000.0);
                        let slope = [falling, 0.0, rising][combination / 3_usize.pow(i as u32) % 3];
                        eps + slope * (x - phi)
                    });
                    lines.fold(20.0 * least, f64::min)
                })
            });
            let best = best.fold(f64::INFINITY, f64::min);
            let bound = Bound::new(&Targets::new(pairs));
            let ours = cost(|x| bound.at(x));
            assert!(
                (ours / best - 1.0).abs() < 1e-3,
                "{pairs:?}: {ours}, not {best}"
            );
        }
    }
}
