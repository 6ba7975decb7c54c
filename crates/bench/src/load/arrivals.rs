//! When requests start: the schedule of an open load, and a pacer that keeps to it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// How long the pacer spins before an arrival at least and at most. A sleep ends late by the timer
/// slack of the kernel (50 µs on Linux) and by the time that a processor takes to wake up.
const SPIN: (Duration, Duration) = (Duration::from_micros(60), Duration::from_micros(500));
/// How long the pacer sleeps before it looks whether it has to stop.
const NAP: Duration = Duration::from_millis(20);

/// The planned starts, as times since the begin of the run. Endless.
#[derive(Debug)]
pub(super) enum Schedule {
    /// Starts with equal distances.
    Constant { rate: f64, next: u64 },
    /// Starts with independent exponential distances.
    Poisson {
        rate: f64,
        at: f64,
        random: Box<StdRng>,
    },
}

impl Schedule {
    pub(super) fn constant(rate: f64) -> Self {
        Self::Constant { rate, next: 0 }
    }

    /// Returns a schedule from a seed, or from one of the system.
    pub(super) fn poisson(rate: f64, seed: Option<u64>) -> Self {
        Self::Poisson {
            rate,
            at: 0.0,
            random: Box::new(seed.map_or_else(rand::make_rng, StdRng::seed_from_u64)),
        }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let seconds = match self {
            Self::Constant { rate, next } => {
                // A product of integers, so that errors do not add up.
                let seconds = *next as f64 / *rate;
                *next += 1;
                seconds
            }
            Self::Poisson { rate, at, random } => {
                *at += -(1.0 - random.random::<f64>()).ln() / *rate;
                *at
            }
        };
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// Waits for times, on a thread of its own.
#[derive(Debug)]
pub(super) struct Pacer {
    /// How long before the time the last sleep has to end, by how late the last ones were.
    spin: Duration,
}

impl Pacer {
    pub(super) fn new() -> Self {
        Self { spin: SPIN.0 }
    }

    /// Waits until `time`: sleeps, then spins. Returns `false`, early, once `stop` is set.
    pub(super) fn wait_until(&mut self, time: Instant, stop: &AtomicBool) -> bool {
        // Relaxed: a flag that carries no data; the threads are joined.
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let Some(left) = time
                .checked_duration_since(now)
                .filter(|left| !left.is_zero())
            else {
                return true;
            };
            if left <= self.spin {
                // Another thread may need the processor. If none does, this returns at once.
                std::thread::yield_now();
                continue;
            }
            let asked = (left - self.spin).min(NAP);
            std::thread::sleep(asked);
            let late = now.elapsed().saturating_sub(asked);
            // Follows a later end at once, and forgets it slowly.
            let slower = self.spin - self.spin / 16;
            self.spin = slower.max(2 * late).clamp(SPIN.0, SPIN.1);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_schedule_does_not_drift() {
        let starts: Vec<Duration> = Schedule::constant(3000.0).take(9_000_001).collect();
        assert_eq!(starts[0], Duration::ZERO);
        assert_eq!(starts[3000], Duration::from_secs(1));
        assert_eq!(starts[9_000_000], Duration::from_secs(3000));
    }

    /// The distances of a Poisson process have a standard deviation that is equal to their mean,
    /// and the numbers in equal times a variance that is equal to theirs.
    #[test]
    fn a_poisson_schedule_has_exponential_distances() {
        let n = 100_000;
        let starts: Vec<f64> = Schedule::poisson(1000.0, Some(5))
            .take(n)
            .map(|start| start.as_secs_f64())
            .collect();
        let gaps: Vec<f64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / n as f64;
        assert!((mean * 1000.0 - 1.0).abs() < 0.02, "{mean}");
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "{variance}");
        let mut counts = vec![0_f64; 90];
        starts
            .iter()
            .map(|start| *start as usize)
            .for_each(|second| {
                if let Some(count) = counts.get_mut(second) {
                    *count += 1.0;
                }
            });
        let spread = counts
            .iter()
            .map(|count| (count - 1000.0).powi(2))
            .sum::<f64>();
        assert!((0.6..1.6).contains(&(spread / 90_000.0)), "{spread}");
    }

    #[test]
    fn equal_seeds_make_equal_schedules() {
        let starts = |seed| Schedule::poisson(10.0, seed).take(5).collect::<Vec<_>>();
        assert_eq!(starts(Some(1)), starts(Some(1)));
        assert_ne!(starts(Some(1)), starts(Some(2)));
        assert_ne!(starts(None), starts(None));
    }

    #[test]
    fn a_pacer_waits_no_less_than_asked_and_stops_when_told() {
        let mut pacer = Pacer::new();
        let time = Instant::now() + Duration::from_millis(3);
        assert!(pacer.wait_until(time, &AtomicBool::new(false)));
        assert!(Instant::now() >= time);
        let never = Instant::now() + Duration::from_secs(3600);
        assert!(!pacer.wait_until(never, &AtomicBool::new(true)));
    }
}
