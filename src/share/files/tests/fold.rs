//! Folds that are killed at every system call, and folds beside each other.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::super::dir::Dir;
use super::super::directory::{Directory, boot_hash};
use super::super::reader::DirectoryReader;
use super::image::{Describe, Image, cold};
use super::kinds::TestDirectory;

/// The number of steps after which this process kills itself, if it is a child of the test.
static STEPS: AtomicU64 = AtomicU64::new(u64::MAX);

/// A point at which a fold can be cut.
pub(in super::super) fn step() {
    if STEPS.load(Relaxed) != u64::MAX && STEPS.fetch_sub(1, Relaxed) == 0 {
        std::process::abort();
    }
    super::schedules::step();
}

/// Writes the file of a dead writer that counted `jobs` jobs.
pub(super) fn dead(directory: &Path, number: u8, jobs: u64) {
    let mut image = Image::new(number);
    image.family(Describe::counter("jobs_total"), [jobs, 0, 0]);
    let (record, _) = image.family(Describe::counter("queue_jobs_total").labelled(), [0; 3]);
    image.chunk(record, 0, &[(cold(0), [jobs, 0, 0], Some((0, r#"a="x""#)))]);
    image.write(directory);
}

pub(super) fn totals(dir: &Dir) -> [Option<f64>; 2] {
    let page = dir.snapshot().unwrap();
    let labelled = page.get("queue_jobs_total", &[("a", "x")]);
    [page.get("jobs_total", &[]), labelled]
}

#[test]
fn a_fold_that_is_killed_at_any_step_changes_no_total() {
    kill_folds("killed", usize::MAX);
}

/// As a process that joins folds. It leaves some of the others.
#[test]
fn a_fold_of_some_that_is_killed_at_any_step_changes_no_total() {
    kill_folds("some-killed", 3);
}

fn kill_folds(name: &'static str, most: usize) {
    let directory = TestDirectory::new(name);
    let mut jobs = 0;
    let mut number = 0;
    // More steps than a fold has: the last one survives.
    for steps in 0.. {
        for _ in 0..2 {
            number += 1;
            dead(&directory.0, number, u64::from(number));
            jobs += u64::from(number);
        }
        let status = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "share::files::tests::fold::child_folds"])
            .env("TALLIES_FOLD", &directory.0)
            .env("TALLIES_FOLD_STEPS", steps.to_string())
            .env("TALLIES_FOLD_MOST", most.to_string())
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        let dir = directory.reader();
        assert_eq!(totals(&dir), [Some(jobs as f64); 2], "after {steps} steps");
        if status.success() {
            assert!(steps > 8, "a fold has more steps than {steps}");
            dir.fold().unwrap();
            assert_eq!(totals(&dir), [Some(jobs as f64); 2], "in the end");
            let left = std::fs::read_dir(&directory.0).unwrap().count();
            assert_eq!(left, 1, "only the totals are left");
            break;
        }
        // Sometimes the next fold succeeds, sometimes it is killed, too.
        if steps % 3 == 0 && most == usize::MAX {
            dir.fold().unwrap();
            assert_eq!(totals(&dir), [Some(jobs as f64); 2], "after {steps} steps");
        }
    }
}

/// Does nothing unless it is a child of the test above.
#[test]
fn child_folds() {
    let (Ok(directory), Ok(steps)) = (
        std::env::var("TALLIES_FOLD"),
        std::env::var("TALLIES_FOLD_STEPS"),
    ) else {
        return;
    };
    let most = std::env::var("TALLIES_FOLD_MOST").unwrap();
    let path = Path::new(&directory);
    let open = Directory::open(path).unwrap();
    let mut reader = DirectoryReader::new(open, path.to_owned(), boot_hash().unwrap());
    STEPS.store(steps.parse().unwrap(), Relaxed);
    reader
        .fold_most(None, most.parse().unwrap(), |_| ())
        .unwrap();
}

#[test]
fn many_fold_beside_each_other_and_beside_readers() {
    let directory = TestDirectory::new("beside");
    let mut jobs = 0;
    for number in 1..=60 {
        dead(&directory.0, number, u64::from(number));
        jobs += u64::from(number);
        std::thread::scope(|scope| {
            for i in 0..4 {
                let directory = &directory;
                scope.spawn(move || {
                    let dir = directory.reader();
                    assert_eq!(totals(&dir), [Some(jobs as f64); 2]);
                    if i < 2 {
                        dir.fold().unwrap();
                    }
                    assert_eq!(totals(&dir), [Some(jobs as f64); 2]);
                });
            }
        });
    }
    let dir = directory.reader();
    dir.fold().unwrap();
    assert_eq!(totals(&dir), [Some(jobs as f64); 2]);
    assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 1);
}
