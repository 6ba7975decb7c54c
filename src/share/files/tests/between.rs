//! Writers that change their file, or end, between two loads of a reader.

use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;

use rustix::fs::FlockOperation;

use super::super::format::{chunk, family, header, shard, slab};
use super::fold::dead;
use super::image::{BASE, Describe, Image, cold, hot};
use super::kinds::TestDirectory;

type Change = Box<dyn FnOnce()>;

thread_local! {
    /// The work that is done once at a point.
    static CHANGE: RefCell<Option<(&'static str, Change)>> = const { RefCell::new(None) };
}

/// A point between two loads.
pub(in super::super) fn between(point: &str) {
    let change = CHANGE.with_borrow_mut(|change| change.take_if(|(at, _)| *at == point));
    if let Some((_, change)) = change {
        change();
    }
}

fn at(point: &'static str, change: impl FnOnce() + 'static) {
    CHANGE.set(Some((point, Box::new(change))));
}

fn lock(file: &File) {
    rustix::fs::flock(file, FlockOperation::NonBlockingLockExclusive).unwrap();
}

fn store(file: &File, address: u64, word: u64) {
    file.write_all_at(&word.to_ne_bytes(), address - BASE)
        .unwrap();
}

/// If the values were read first, the fold would drop what was counted before the end.
#[test]
fn what_a_writer_counts_before_it_ends_is_folded() {
    let directory = TestDirectory::new("ends");
    let mut image = Image::new(1);
    let (_, first) = image.family(Describe::counter("jobs_total"), [5, 0, 0]);
    let file = image.write(&directory.0);
    lock(&file);
    let dir = directory.reader();
    let jobs = || dir.snapshot().unwrap().get("jobs_total", &[]);
    assert_eq!(jobs(), Some(5.0));
    at("death", move || {
        store(&file, first + 16, 7);
        drop(file);
    });
    assert_eq!(dir.fold().unwrap(), 0, "it lived when the fold looked");
    assert_eq!(jobs(), Some(7.0));
    assert_eq!(dir.fold().unwrap(), 1);
    assert_eq!(jobs(), Some(7.0));
}

/// The memory of a series that was removed is that of another one, whose counts must not be shown
/// under the old labels.
#[test]
fn a_series_that_becomes_another_one_meanwhile_is_read_again() {
    let directory = TestDirectory::new("becomes");
    let mut image = Image::new(1);
    let (record, _) = image.family(Describe::counter("jobs_total").labelled(), [0; 3]);
    image.chunk(record, 0, &[(cold(0), [5, 0, 0], Some((0, r#"a="x""#)))]);
    let other = image.text(1, r#"a="y""#);
    let chunk = image.word((record - BASE) as usize + family::CHUNKS);
    let of_chunk = |field: usize| image.word((chunk - BASE) as usize + field);
    let (series, labels) = (of_chunk(chunk::SERIES), of_chunk(chunk::LABELS));
    let file = image.write(&directory.0);
    lock(&file);
    at("values", move || {
        store(&file, labels, other);
        store(&file, series, cold(1));
        store(&file, series + 16, 100);
        std::mem::forget(file);
    });
    let page = directory.reader().snapshot().unwrap();
    assert_eq!(page.get("jobs_total", &[("a", "y")]), Some(100.0));
    assert_eq!(page.get("jobs_total", &[("a", "x")]), None);
}

/// A slab that was replaced is soon memory of something else.
#[test]
fn memory_that_is_used_again_meanwhile_is_read_again() {
    let directory = TestDirectory::new("again");
    let mut image = Image::new(1);
    let (_, first) = image.family(Describe::counter("jobs_total"), [0; 3]);
    image.store(first, hot(0, 0));
    let cell = image.shard(&[5]);
    let record = image.word(header::SHARDS);
    let old = cell - slab::CELLS as u64;
    let mut larger = vec![0; slab::CELLS / 8];
    larger[slab::CAPACITY / 8] = 1;
    larger.push(5);
    let larger = image.words(&larger);
    let file = image.write(&directory.0);
    lock(&file);
    at("values", move || {
        store(&file, BASE + header::REPLACED as u64, 1);
        store(&file, record + shard::SLAB as u64, larger);
        store(&file, old + slab::CELLS as u64, 1000);
        std::mem::forget(file);
    });
    let page = directory.reader().snapshot().unwrap();
    assert_eq!(page.get("jobs_total", &[]), Some(5.0));
}

/// Files that processes have begun and not renamed yet.
#[test]
fn a_fold_leaves_the_files_of_processes_that_start() {
    let directory = TestDirectory::new("starts");
    let (fresh, old) = (directory.0.join(".tmp-1"), directory.0.join(".tmp-2"));
    std::fs::write(&fresh, "").unwrap();
    let file = File::create(&old).unwrap();
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(7200);
    file.set_modified(long_ago).unwrap();
    dead(&directory.0, 1, 5);
    assert_eq!(directory.reader().fold().unwrap(), 1);
    assert!(fresh.exists(), "a process was about to rename it");
    assert!(!old.exists(), "its process has ended");
}

/// A sparse file of 4 GB was read whole: 16 s, and as much memory.
#[test]
fn totals_with_holes_or_without_their_length_are_not_read() {
    let directory = TestDirectory::new("sparse");
    dead(&directory.0, 1, 5);
    let dir = directory.reader();
    dir.fold().unwrap();
    let mut totals = std::fs::read(directory.0.join("totals-1")).unwrap();
    totals[24..32].copy_from_slice(&5_u64.to_le_bytes());
    let size = 3_u64 << 30;
    for (length, reason) in [(size - 48, "holes"), (100, "damaged")] {
        totals[32..40].copy_from_slice(&length.to_le_bytes());
        let file = File::create(directory.0.join("totals-5")).unwrap();
        file.write_all_at(&totals, 0).unwrap();
        file.set_len(size).unwrap();
        let page = directory.reader();
        let skipped = page.overview().unwrap().skipped;
        assert_eq!(skipped.len(), 1, "{skipped:?}");
        assert!(skipped[0].1.contains(reason), "{skipped:?}");
        assert_eq!(page.snapshot().unwrap().get("jobs_total", &[]), Some(5.0));
    }
}
