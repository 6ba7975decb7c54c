//! The merged page of a directory: what `share::dir` returns.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::snapshot::{LAST_MILLIS, Snapshot, Source};

use super::directory::{Directory, boot_hash, without_slash};
use super::view::View;

/// The time for which the file of a dead process stays, so that it can be looked at.
const GRACE: Duration = Duration::from_secs(5);

/// After a fold that failed, such as on a full disk, scrapes wait so long before they try again.
const RETRY: Duration = Duration::from_secs(60);

/// The merged metrics of all processes that share a directory.
///
/// [`share::dir`](crate::share::dir) returns it to a process that takes part, and
/// [`open`](Self::open) to one that only looks. It takes the place of a registry wherever a page is
/// served or pushed.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("tallies-doc-{}", std::process::id()));
/// let shared = tallies::share::dir(&path)?;
/// let server = tallies::serve::Server::new().registry(&shared).listen("127.0.0.1:0")?;
/// println!("The page of all processes: {}", server.metrics_url());
/// # server.stop();
/// # std::fs::remove_dir_all(&path).unwrap();
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// The page has the families of the default registry of every process. It does not have what a
/// process computes when it is scraped, that is the families of
/// [collectors](crate::collect::Collect) and callbacks: no process can run the code of another one,
/// and the values of the one that happens to be scraped would jump. A process can serve them on a
/// page of its own.
///
/// A scrape reads the files of all processes, also of those that hang, are stopped or have ended.
/// It never waits for one of them. Some processes fold the files of those that have ended into one,
/// which takes longer, when they are scraped. A clone reads the same directory.
#[derive(Clone, Debug)]
pub struct Dir(Arc<DirState>);

#[derive(Debug)]
struct DirState {
    path: PathBuf,
    /// Whether this process takes part.
    takes_part: bool,
    state: Mutex<State>,
}

/// Held for reading by each thread that has a [`State`], so that a `fork` can wait for all of them.
static READS: RwLock<()> = RwLock::new(());

/// Keeps others from having a [`State`].
pub(super) struct WholeReads(#[allow(dead_code, reason = "unlocks")] RwLockWriteGuard<'static, ()>);

impl WholeReads {
    pub(super) fn wait() -> Self {
        Self(READS.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A state that the calling thread has locked.
struct Locked<'a> {
    state: MutexGuard<'a, State>,
    // Unlocked last.
    _read: RwLockReadGuard<'static, ()>,
}

impl std::ops::Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.state
    }
}

impl std::ops::DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.state
    }
}

/// Written and read by one scrape at a time.
#[derive(Debug)]
struct State {
    view: View,
    /// The page that was merged last.
    last: Snapshot,
    /// When a fold failed for the last time, unless one succeeded since.
    failed_fold: Option<Instant>,
}

/// A process that takes part in a shared directory, or took part and has not been folded yet.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("tallies-doc-{}-2", std::process::id()));
/// let shared = tallies::share::dir(&path)?;
/// let processes = shared.processes()?;
/// assert_eq!(processes[0].id, std::process::id());
/// assert!(processes[0].is_alive);
/// # std::fs::remove_dir_all(&path).unwrap();
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Process {
    /// The name of its file in the directory.
    pub file: String,
    /// The process ID that it had. Another process may have it now, or it may be that of another
    /// container.
    pub id: u32,
    /// The time at which it began to take part.
    pub started: SystemTime,
    /// The time at which it did maintenance last: folded counts of threads that have ended, expired
    /// series. Processes do so when their own page is scraped.
    pub heartbeat: SystemTime,
    /// Whether the process was alive when its file was read.
    pub is_alive: bool,
    /// Its counts, or those that it had when it ended.
    pub snapshot: Snapshot,
}

impl Dir {
    /// Opens a directory that other processes share, to look at it. This process does not take
    /// part.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("tallies-doc-{}-3", std::process::id()));
    /// # let _shared = tallies::share::dir(&path)?;
    /// let outside = tallies::share::Dir::open(&path)?;
    /// println!("{} processes", outside.processes()?.len());
    /// # std::fs::remove_dir_all(&path).unwrap();
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the directory does not exist, cannot be read, belongs to another user,
    /// or is open to other users.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = &without_slash(path.as_ref());
        let directory =
            Directory::open(path).and_then(|directory| Self::new(path, directory, false));
        directory.map_err(|cause| Error::of_file("cannot open the shared directory", path, cause))
    }

    pub(super) fn new(path: &Path, directory: Directory, takes_part: bool) -> io::Result<Self> {
        let view = View::new(directory, path.to_owned(), boot_hash()?);
        Ok(Self(Arc::new(DirState {
            path: path.to_owned(),
            takes_part,
            state: Mutex::new(State {
                view,
                last: Snapshot::default(),
                failed_fold: None,
            }),
        })))
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Takes a snapshot of all processes together.
    ///
    /// ```
    /// # let path = std::env::temp_dir().join(format!("tallies-doc-{}-4", std::process::id()));
    /// let shared = tallies::share::dir(&path)?;
    /// assert_eq!(shared.snapshot()?.get("tallies_share_writers", &[]), Some(1.0));
    /// # std::fs::remove_dir_all(&path).unwrap();
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error where totals would otherwise go back: if the directory was deleted or
    /// cannot be read, if the file of this process was removed from it or damaged, or if a newer
    /// version of this crate wrote the totals.
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        let mut state = self.state();
        self.refresh(&mut state)?;
        Ok(state.last.clone())
    }

    /// Reads the files and merges them.
    fn refresh(&self, state: &mut State) -> Result<(), Error> {
        let own = self.own_file()?;
        let own = own.as_deref();
        state.view.read(own)?;
        let is_early = state.failed_fold.is_some_and(|at| at.elapsed() < RETRY);
        if state.view.wants_fold(GRACE) && !is_early {
            // What goes wrong is logged, and the page is served from the files as they are.
            let folded = state.view.fold(own, |_| ());
            state.failed_fold = folded.is_err().then(Instant::now);
            if let Err(error) = folded {
                crate::error::warn_once(&error);
            }
            state.view.read(own)?;
        }
        let mut conflicts = 0;
        let mut merged = state.view.merged(|error| {
            conflicts += 1;
            crate::error::warn_once(&format_args!("left out of the shared page: {error}"));
        });
        let writers = state.view.writers.values();
        let live = writers.filter(|open| open.dead_since.is_none()).count();
        let mut gauge = |name, help, value: usize| {
            merged.insert_gauge(name, help, value as f64);
        };
        gauge(
            "tallies_share_writers",
            "Live processes that share their metrics.",
            live,
        );
        gauge(
            "tallies_share_files_skipped",
            "Files in the shared directory that could not be read.",
            state.view.skipped.len(),
        );
        gauge(
            "tallies_share_conflicts",
            "Families of single processes that are left out because other processes have another \
             kind or shape under the same name.",
            conflicts,
        );
        let unpublished = state
            .view
            .writers
            .values()
            .map(|open| open.file.unpublished);
        gauge(
            "tallies_share_words_not_shared",
            "Words that live processes keep in private memory, because the disk of the shared \
             directory is full. What they count is missing here.",
            unpublished.sum::<u64>() as usize,
        );
        state.last = merged;
        Ok(())
    }

    /// Returns the name of the file of this process, if it takes part. A child of `fork` gets a
    /// file of its own.
    fn own_file(&self) -> Result<Option<String>, Error> {
        if !self.0.takes_part {
            return Ok(None);
        }
        let own = super::own_file().map(Some);
        own.map_err(|cause| Error::of_file("cannot read the shared directory", self.path(), cause))
    }

    /// Returns the processes that take part or have not been folded yet, those that started last
    /// first.
    ///
    /// # Errors
    ///
    /// As for [`snapshot`](Self::snapshot).
    pub fn processes(&self) -> Result<Vec<Process>, Error> {
        let state = self.read()?;
        let mut all: Vec<_> = state.view.writers.iter().collect();
        all.sort_by_key(|(_, open)| std::cmp::Reverse(open.file.head.created));
        let all = all.into_iter().map(|(name, open)| Process {
            file: name.clone(),
            id: open.file.head.pid,
            started: time(open.file.head.created),
            heartbeat: time(open.file.heartbeat),
            is_alive: open.dead_since.is_none(),
            snapshot: open.file.snapshot.clone(),
        });
        Ok(all.collect())
    }

    /// Returns the totals of processes that have ended and were folded.
    ///
    /// # Errors
    ///
    /// As for [`snapshot`](Self::snapshot).
    pub fn folded(&self) -> Result<Snapshot, Error> {
        let state = self.read()?;
        Ok(state.view.totals.snapshot.clone())
    }

    /// Returns the files that are skipped, each with the reason.
    ///
    /// # Errors
    ///
    /// As for [`snapshot`](Self::snapshot).
    pub fn skipped(&self) -> Result<Vec<(String, String)>, Error> {
        let state = self.read()?;
        let skipped = state.view.skipped.iter();
        Ok(skipped
            .map(|(name, reason)| (name.clone(), reason.to_string()))
            .collect())
    }

    /// Folds the files of all processes that have ended into the totals, now. Returns how many
    /// there were; 0 if another process folds at the same time.
    ///
    /// Scrapes do so by themselves, a few seconds after a process has ended.
    ///
    /// # Errors
    ///
    /// As for [`snapshot`](Self::snapshot), and totals that cannot be written.
    pub fn fold(&self) -> Result<usize, Error> {
        let mut state = self.state();
        let folded = state.view.fold(self.own_file()?.as_deref(), |error| {
            crate::error::warn_once(&format_args!("left out of the totals: {error}"));
        })?;
        Ok(folded.unwrap_or(0))
    }

    /// Reads all files.
    fn read(&self) -> Result<Locked<'_>, Error> {
        let mut state = self.state();
        state.view.read(self.own_file()?.as_deref())?;
        Ok(state)
    }

    fn state(&self) -> Locked<'_> {
        let read = READS.read().unwrap_or_else(PoisonError::into_inner);
        Locked {
            state: self.0.state.lock().unwrap_or_else(PoisonError::into_inner),
            _read: read,
        }
    }
}

impl Source for Dir {
    /// Takes a snapshot. If there is none, it is that of the last time.
    fn snapshot_into(&self, snapshot: &mut Snapshot) {
        let mut state = self.state();
        if let Err(error) = self.refresh(&mut state) {
            crate::error::warn_once(&error);
        }
        snapshot.clone_from(&state.last);
    }

    fn try_snapshot_into(&self, snapshot: &mut Snapshot) -> Result<(), Error> {
        let mut state = self.state();
        self.refresh(&mut state)?;
        snapshot.clone_from(&state.last);
        Ok(())
    }
}

/// Returns the time that is so many milliseconds after the beginning of 1970; one in the far future
/// if the clock cannot have it.
fn time(millis: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(millis.min(LAST_MILLIS))
}
