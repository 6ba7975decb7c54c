//! Directories and child processes.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use tallies::share::Dir;
use tallies::snapshot::Snapshot;

/// A directory on a tmpfs, which is removed at the end.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let shm = Path::new("/dev/shm");
        let parent = if shm.is_dir() {
            shm.to_owned()
        } else {
            std::env::temp_dir()
        };
        let name = format!(
            "tallies-mapped-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Relaxed)
        );
        Self(parent.join(name))
    }

    /// Runs a test of this program in another process, which shares its metrics here.
    pub fn spawn(&self, test: &str) -> Child {
        Command::new(std::env::current_exe().unwrap())
            .args([test, "--exact", "--nocapture", "--test-threads=1"])
            .env("TALLIES_MAPPED", &self.0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Runs a test of this program in another process, which ends by killing itself.
    pub fn run_until_killed(&self, test: &str) {
        let output = self.spawn(test).wait_with_output().unwrap();
        assert_eq!(output.status.signal(), Some(9), "{output:?}");
    }

    /// Returns what the only process has counted, gauges included.
    pub fn read(&self) -> Snapshot {
        let mut all = processes(&self.0);
        assert_eq!(all.len(), 1);
        all.remove(0)
    }
}

/// Returns what each process has counted, gauges included.
pub fn processes(directory: &Path) -> Vec<Snapshot> {
    let directory = Dir::open(directory).unwrap();
    assert_eq!(directory.overview().unwrap().skipped, []);
    let processes = directory.overview().unwrap().processes;
    processes
        .iter()
        .map(|process| process.snapshot.clone())
        .collect()
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
        let _ = std::fs::remove_file(self.0.with_extension("rounds"));
    }
}

/// Returns the directory if this process is the child of a test.
pub fn child() -> Option<PathBuf> {
    std::env::var_os("TALLIES_MAPPED").map(PathBuf::from)
}

/// Ends this process at once, as a `kill -9` from outside does.
#[allow(unsafe_code, reason = "no safe call does that")]
pub fn kill_self() -> ! {
    // SAFETY: no memory is involved.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    unreachable!("killed")
}
