//! The value of each kind, as the description of the format says.

use std::path::PathBuf;

use rustix::fs::FlockOperation;

use crate::snapshot::Snapshot;
use crate::snapshot::Value;

use super::super::dir::Dir;
use super::super::format::{CellKind, series};
use super::image::{Describe, Image, cold, hot, retired};

/// A directory, removed when it is dropped.
pub(super) struct TestDirectory(pub(super) PathBuf);

impl TestDirectory {
    pub(super) fn new(name: &str) -> Self {
        use std::os::unix::fs::DirBuilderExt;
        let name = format!("tallies-unit-{}-{name}", std::process::id());
        let shm = PathBuf::from("/dev/shm");
        let parent = if shm.is_dir() {
            shm
        } else {
            std::env::temp_dir()
        };
        let path = parent.join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .unwrap();
        Self(path)
    }

    pub(super) fn reader(&self) -> Dir {
        Dir::open(&self.0).unwrap()
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Returns what a reader makes of the file of a dead writer, and of a live one: the same.
fn read(name: &str, image: &Image) -> Snapshot {
    let directory = TestDirectory::new(name);
    let file = image.write(&directory.0);
    let dead = directory.reader().overview().unwrap().processes.remove(0);
    assert!(!dead.is_alive);
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let live = directory.reader().overview().unwrap().processes.remove(0);
    assert!(live.is_alive);
    let text = |snapshot: &Snapshot| crate::encode::text(snapshot);
    assert_eq!(text(&live.snapshot), text(&dead.snapshot));
    live.snapshot
}

#[test]
fn a_counter_is_its_cold_cell_and_its_cells() {
    let mut image = Image::new(1);
    let (_, first) = image.family(Describe::counter("plain_total"), [5, 0, 0]);
    image.store(first, hot(0, 1));
    image.shard(&[100, 7, 100]);
    image.shard(&[100, 2]);
    // Too short for the slot.
    image.shard(&[100]);
    let float = Describe {
        kinds: (0, CellKind::FloatCounter),
        ..Describe::counter("float_total")
    };
    image.family(float, [0.5_f64.to_bits(), 0, 0]);
    let page = read("counter", &image);
    assert_eq!(page.get("plain_total", &[]), Some(14.0));
    assert_eq!(page.get("float_total", &[]), Some(0.5));
}

#[test]
fn series_are_live_or_retired_or_dropped() {
    let mut image = Image::new(1);
    let (record, _) = image.family(Describe::counter("jobs_total").labelled(), [0, 0, 0]);
    let text = |generation, text| Some((generation, text));
    let first = [
        (cold(0), [1, 0, 0], text(0, r#"a="x""#)),
        // Another generation has the text.
        (retired(1, 1), [20, 0, 0], text(0, r#"a="y""#)),
        (cold(1), [300, 0, 0], text(0, r#"a="z""#)),
        (cold(0), [4000, 0, 0], None),
    ];
    image.chunk(record, 0, &first);
    image.chunk(record, 4, &[(hot(7, 0), [5, 0, 0], text(7, r#"a="w""#))]);
    image.shard(&[50_000, 600_000]);
    let page = read("series", &image);
    let get = |value| page.get("jobs_total", &[("a", value)]);
    assert_eq!(get("x"), Some(1.0));
    assert_eq!(get("w"), Some(50_005.0));
    assert_eq!(get("__overflow__"), Some(600_020.0));
    assert_eq!(page.family("jobs_total").unwrap().len(), 3);
}

#[test]
fn an_open_journal_counts_as_done() {
    let mut image = Image::new(1);
    let (_, first) = image.family(Describe::counter("jobs_total"), [5, 0, 0]);
    image.store(first, hot(0, 0));
    let cells = image.shard(&[7]);
    let cold = first + series::COLD as u64;
    // The move of 7 to the cold cell, cut between its two stores, in either order.
    image.journal(3, &[[cold, 1, 12], [cells, 1, 0]]);
    assert_eq!(read("journal-0", &image).get("jobs_total", &[]), Some(12.0));
    image.store(cold, 12);
    assert_eq!(read("journal-1", &image).get("jobs_total", &[]), Some(12.0));
    image.store(cells, 0);
    assert_eq!(read("journal-2", &image).get("jobs_total", &[]), Some(12.0));
    image.journal(4, &[[cold, 1, 99], [cells, 1, 99]]);
    assert_eq!(read("journal-3", &image).get("jobs_total", &[]), Some(12.0));
}

#[test]
fn a_histogram_is_a_prefix_of_its_observations() {
    let mut image = Image::new(1);
    let describe = Describe {
        kinds: (2, CellKind::Histogram),
        width: 5,
        bounds: &[1.0],
        ..Describe::counter("latency_seconds")
    };
    let (_, first) = image.family(describe, [0; 3]);
    let bits = f64::to_bits;
    // Lowest word first: the buckets from the last one down, sum[0], sum[1], state.
    let cold = image.words(&[3, 2, bits(9.0), bits(8.0), 5 << 1]);
    image.store(first + series::COLD as u64, cold);
    image.store(first, hot(0, 5));
    // Cut after its bucket: the other sum belongs to the buckets.
    image.shard(&[0, 1, 1, bits(0.25), bits(2.5), 1 << 1]);
    let page = read("histogram", &image);
    assert_eq!(page.get("latency_seconds_count", &[]), Some(7.0));
    assert_eq!(
        page.get("latency_seconds_bucket", &[("le", "1")]),
        Some(3.0)
    );
    assert_eq!(page.get("latency_seconds_sum", &[]), Some(11.5));
}

#[test]
fn an_up_down_counter_is_its_difference() {
    let mut image = Image::new(1);
    let describe = Describe {
        kinds: (1, CellKind::UpDown),
        width: 2,
        ..Describe::counter("in_flight")
    };
    let (_, first) = image.family(describe, [5, 3, 0]);
    image.store(first, hot(0, 1));
    image.shard(&[4, 1]);
    assert_eq!(read("up-down", &image).get("in_flight", &[]), Some(-1.0));
}

#[test]
fn a_summary_has_the_values_of_its_streams() {
    let mut image = Image::new(1);
    let describe = Describe {
        kinds: (3, CellKind::Summary),
        targets: &[(0.5, 0.05)],
        ..Describe::counter("sizes_bytes")
    };
    let (_, first) = image.family(describe, [0; 3]);
    let key = |value: f64| crate::snapshot::sketch::key_of(value);
    let bits = f64::to_bits;
    let words = [
        2,
        1,
        bits(7.0),
        1 << 1,
        bits(1.0),
        bits(2.0),
        key(7.0),
        1 << 32,
    ];
    let len = words.len() as u64;
    let words = image.words(&words);
    let page = image.words(&[2, 2, 0, words, len]);
    let stream = image.words(&[2, 0, page]);
    image.store(first + series::STREAM as u64, stream);
    let folded = image.words(&[
        8,
        2,
        bits(30.0),
        1,
        2 << 1,
        key(10.0),
        1 << 32,
        key(20.0),
        1 << 32,
    ]);
    image.store(first + series::FOLDED as u64, folded);
    let page = read("summary", &image);
    assert_eq!(page.get("sizes_bytes_count", &[]), Some(5.0));
    assert_eq!(page.get("sizes_bytes_sum", &[]), Some(40.0));
    let (_, value) = page.family("sizes_bytes").unwrap().series().next().unwrap();
    let Value::Summary(summary) = value else {
        panic!()
    };
    assert_eq!(summary.quantile(0.5).unwrap(), Some((7.0, 0.0)));
    assert_eq!(summary.quantile(1.0).unwrap(), Some((20.0, 0.0)));
}

#[test]
fn a_state_set_has_a_series_for_each_state() {
    let mut image = Image::new(1);
    let describe = Describe {
        kinds: (5, CellKind::StateSet),
        ..Describe::counter("pump")
    };
    image.family(describe, [1, 7000, 0]);
    let page = read("states", &image);
    assert_eq!(page.get("pump", &[("pump", "on")]), Some(1.0));
    assert_eq!(page.get("pump", &[("pump", "off")]), Some(0.0));
}

/// Found by the fuzzer: the page of such a file could not be read.
#[test]
fn a_counter_that_is_not_a_number_is_refused() {
    for value in [f64::NAN, -1.0] {
        let mut image = Image::new(1);
        let float = Describe {
            kinds: (0, CellKind::FloatCounter),
            ..Describe::counter("float_total")
        };
        image.family(float, [value.to_bits(), 0, 0]);
        let error = super::super::read::read_bytes(&image.bytes).unwrap_err();
        assert!(error.contains("not a number"), "{error}");
    }
}
