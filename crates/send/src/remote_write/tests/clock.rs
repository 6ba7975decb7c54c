//! The times of samples when the clock steps.

use super::*;

/// Returns the time of the samples of each snapshot.
fn times(exchange: &mut Exchange, taken: &[u64]) -> Vec<i64> {
    let times = taken.iter().map(|millis| {
        exchange.take(&snapshot([gauges("g", &["1"])], *millis));
        flush(exchange)[0].samples[0].time
    });
    times.collect()
}

#[test]
fn the_time_of_a_sample_is_that_of_its_snapshot() {
    let mut exchange = exchange(&v2());
    let taken = [NOW, NOW + 2, NOW + 1_000, NOW + 1_000_000];
    assert_eq!(times(&mut exchange, &taken), taken.map(|time| time as i64));
}

#[test]
fn a_small_step_back_of_the_clock_is_hidden() {
    let mut exchange = exchange(&v2());
    let taken = [NOW, NOW, NOW - 59_000, NOW + 3, NOW + 1_000];
    let expected = [NOW, NOW + 2, NOW + 4, NOW + 6, NOW + 1_000];
    assert_eq!(
        times(&mut exchange, &taken),
        expected.map(|time| time as i64)
    );
}

/// Samples that are too far in the future would be rejected for longer.
#[test]
fn a_large_step_back_of_the_clock_is_followed() {
    let mut exchange = exchange(&v2());
    let taken = [NOW, NOW - 3_600_000, NOW - 3_590_000];
    assert_eq!(times(&mut exchange, &taken), taken.map(|time| time as i64));
}

#[test]
fn a_time_before_the_epoch_is_the_epoch() {
    let before = SystemTime::UNIX_EPOCH - Duration::from_secs(1);
    let snapshot = Snapshot::new(vec![gauges("g", &["1"])], before).unwrap();
    assert_eq!(sent(&v2(), &snapshot)[0].time, 0);
    assert_eq!(sent(&v2(), &Snapshot::default()).len(), 0);
}
