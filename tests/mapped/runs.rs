//! Series that are allocated together: when other processes find them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use tallies::Counter;

use crate::support::{Directory, child, kill_self};

/// The file of this process, at offsets of `docs/mapped-files.md`.
struct OwnFile(File);

impl OwnFile {
    fn open(directory: &Path) -> Self {
        let mut files = std::fs::read_dir(directory).unwrap();
        Self(File::open(files.next().unwrap().unwrap().path()).unwrap())
    }

    fn word(&self, offset: u64) -> u64 {
        let mut word = [0; 8];
        self.0.read_exact_at(&mut word, offset).unwrap();
        u64::from_ne_bytes(word)
    }

    /// Returns the offset of the word with the newest chunk of the family that was made last.
    fn newest_chunk(&self) -> u64 {
        let (base, newest_family) = (self.word(80), self.word(104));
        newest_family - base + 56
    }
}

/// Of two threads that made series of the same memory, one had other processes find it. The other
/// one counted before that was done, and a kill at that moment lost the count.
#[test]
fn a_thread_counts_in_a_series_once_other_processes_find_it() {
    const SERIES_BEFORE: usize = 8184;
    /// Behind those, so many are allocated together, eight times.
    const TOGETHER: usize = 1024;
    if let Some(directory) = child() {
        tallies::share::dir(&directory).unwrap();
        let file = OwnFile::open(&directory);
        // How long the thread takes that has others find them.
        let mut took = Duration::ZERO;
        for family in 0..8 {
            let made = Counter::builder(&format!("made_{family}_total"), "Made.")
                .labels(["x"])
                .limit(100_000)
                .register(tallies::registry())
                .unwrap();
            (0..SERIES_BEFORE).for_each(|i| made.with([&*i.to_string()]).inc());
            let newest_chunk = file.newest_chunk();
            for i in 0..8 {
                let before = file.word(newest_chunk);
                let both = Barrier::new(2);
                took = std::thread::scope(|scope| {
                    let first = scope.spawn(|| {
                        both.wait();
                        let begun = Instant::now();
                        made.with([&*format!("first {i}")]).inc();
                        begun.elapsed()
                    });
                    both.wait();
                    let begun = Instant::now();
                    while begun.elapsed() < took * i / 8 {}
                    made.with([&*format!("second {i}")]).inc();
                    assert_ne!(file.word(newest_chunk), before, "family {family}, run {i}");
                    first.join().unwrap()
                });
                let others = (2..TOGETHER).map(|n| format!("{i} {n}"));
                others.for_each(|x| made.with([&*x]).inc());
            }
        }
        kill_self();
    }
    let directory = Directory::new();
    directory.run_until_killed("runs::a_thread_counts_in_a_series_once_other_processes_find_it");
    let page = directory.read();
    assert_eq!(page.get("made_0_total", &[("x", "second 7")]), Some(1.0));
}
