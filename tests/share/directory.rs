//! A directory for one test.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use tallies::share::Dir;
use tallies::snapshot::Snapshot;

use crate::support::eventually;

/// A directory on a tmpfs, removed when it is dropped.
pub struct TestDirectory(PathBuf);

impl TestDirectory {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tallies-test-{}-{number}", std::process::id());
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() {
            shm.to_owned()
        } else {
            std::env::temp_dir()
        };
        Self(parent.join(name))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Opens the directory as a reader from outside. Makes it if no process has done so yet.
    pub fn reader(&self) -> Reader {
        use std::os::unix::fs::DirBuilderExt;
        let mut builder = std::fs::DirBuilder::new();
        let _ = builder.mode(0o700).create(&self.0);
        Reader {
            dir: Dir::open(&self.0).unwrap(),
            highest: 0.0,
        }
    }

    /// Returns the names in the directory that end in `suffix`.
    pub fn files(&self, suffix: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).into_iter().flatten();
        let mut files: Vec<_> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_str().unwrap().ends_with(suffix))
            .collect();
        files.sort();
        files
    }
}

impl Drop for TestDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A reader from outside that checks that a total never goes back.
pub struct Reader {
    pub dir: Dir,
    highest: f64,
}

impl Reader {
    /// Returns the merged snapshot.
    pub fn snapshot(&self) -> Snapshot {
        self.dir.snapshot().unwrap()
    }

    /// Returns a number of the merged snapshot; 0 if there is none.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.snapshot().get(name, labels).unwrap_or(0.0)
    }

    /// Returns the total of the counter that all roles count in, which must not be below an
    /// earlier one.
    pub fn total(&mut self) -> f64 {
        let total = self.get("jobs_total", &[]);
        assert!(total >= self.highest, "{total} after {}", self.highest);
        self.highest = total;
        total
    }

    /// Waits until the total has this value.
    pub fn wait_for_total(&mut self, wanted: f64) {
        // Reads as often as it can, beside the processes that count.
        eventually(&format!("a total of {wanted}"), || {
            let total = (0..1000)
                .map(|_| self.total())
                .find(|total| *total >= wanted);
            total.ok_or(format!("{}", self.highest))
        });
        assert_eq!(self.total(), wanted);
    }
}
