//! The merged page of a directory: what `share::dir` returns.

use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::error::Error;
use crate::snapshot::{LAST_MILLIS, Snapshot, Source};

use super::directory::{Directory, boot_hash, without_slash};
use super::reader::DirectoryReader;

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
#[derive(Clone)]
pub struct Dir(Arc<DirState>);

impl Debug for Dir {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Dir").field(&self.0.path).finish()
    }
}

struct DirState {
    path: PathBuf,
    /// Whether this process takes part.
    takes_part: bool,
    state: Mutex<ReaderState>,
}

/// Held for reading by each thread that has a [`ReaderState`], so that a `fork` can wait for all of
/// them.
static READS: RwLock<()> = RwLock::new(());

/// Keeps the process from forking while the result lives: for a thread that reads the directory.
/// Dropped after what it reads.
pub(super) fn reading() -> RwLockReadGuard<'static, ()> {
    READS.read().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until no thread has a [`ReaderState`], and keeps others from having one.
pub(super) fn lock_reads() -> RwLockWriteGuard<'static, ()> {
    READS.write().unwrap_or_else(PoisonError::into_inner)
}

/// Written and read by one scrape at a time.
struct ReaderState {
    reader: DirectoryReader,
    /// The page that was merged last.
    last: Snapshot,
    /// When a fold failed for the last time, unless one succeeded since.
    failed_fold: Option<Instant>,
}

/// A shared directory at one time, as [`Dir::overview`] returns it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Overview {
    /// The processes that take part or have not been folded yet, those that started last first.
    pub processes: Vec<Process>,
    /// The totals of the processes that have ended and were folded.
    pub folded: Snapshot,
    /// The files that are skipped, each with the reason.
    pub skipped: Vec<(String, String)>,
}

/// A process that shares its metrics, or shared them and has not been folded yet.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("tallies-doc-{}-2", std::process::id()));
/// let shared = tallies::share::dir(&path)?;
/// let all = shared.overview()?;
/// assert_eq!(all.processes[0].pid, Some(std::process::id()));
/// assert!(all.processes[0].is_alive);
/// # std::fs::remove_dir_all(&path).unwrap();
/// # Ok::<(), tallies::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Process {
    /// The name of its file in the directory.
    pub name: String,
    /// The process ID that it had, which is always known. Another process may have it now, or it
    /// may be that of another container.
    pub pid: Option<u32>,
    /// Its number among the live processes, which is always known: the value of the label
    /// `gauge_index`.
    pub index: Option<u32>,
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
    /// println!("{} processes", outside.overview()?.processes.len());
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
        let reader = DirectoryReader::new(directory, path.to_owned(), boot_hash()?);
        Ok(Self(Arc::new(DirState {
            path: path.to_owned(),
            takes_part,
            state: Mutex::new(ReaderState {
                reader,
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
        let mut snapshot = Snapshot::default();
        self.try_snapshot_into(&mut snapshot)?;
        Ok(snapshot)
    }

    /// Reads the files and merges them.
    fn refresh(&self, state: &mut ReaderState) -> Result<(), Error> {
        let own = self.own_file()?;
        let own = own.as_deref();
        state.reader.read(own)?;
        let is_early = state.failed_fold.is_some_and(|at| at.elapsed() < RETRY);
        if state.reader.wants_fold(GRACE) && !is_early {
            // What goes wrong is logged, and the page is served from the files as they are.
            let folded = state.reader.fold(own, |_| ());
            state.failed_fold = folded.is_err().then(Instant::now);
            if let Err(error) = folded {
                crate::error::warn_once(&error);
            }
            state.reader.read(own)?;
        }
        let mut conflicts = 0;
        let mut merged = state.reader.merged(|error| {
            conflicts += 1;
            crate::error::warn_once(&format_args!("left out of the shared page: {error}"));
        });
        let writers = state.reader.writers.values();
        let unpublished = writers.clone().map(|writer| writer.unpublished);
        let live = writers.filter(|writer| writer.dead_since.is_none()).count();
        for ((name, help), value) in [
            (
                ("share_writers", "Live processes that share their metrics."),
                live,
            ),
            (
                (
                    "share_files_skipped",
                    "Files in the shared directory that could not be read.",
                ),
                state.reader.skipped.len(),
            ),
            (
                (
                    "share_conflicts",
                    "Families of single processes that are left out because other processes have \
                 another kind or shape under the same name.",
                ),
                conflicts,
            ),
            (
                (
                    "share_words_not_shared",
                    "Words that live processes keep in private memory, because the disk of the shared \
                 directory is full. What they count is missing here.",
                ),
                unpublished.sum::<u64>() as usize,
            ),
        ] {
            merged.insert_gauge(&format!("tallies_{name}"), help, value as f64);
        }
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

    /// Returns the processes of the directory, with what each of them has counted.
    ///
    /// # Errors
    ///
    /// As for [`snapshot`](Self::snapshot).
    pub fn overview(&self) -> Result<Overview, Error> {
        let (_read, mut state) = self.lock();
        state.reader.read(self.own_file()?.as_deref())?;
        let reader = &state.reader;
        let mut processes: Vec<_> = reader.writers.iter().collect();
        processes.sort_by_key(|(_, writer)| std::cmp::Reverse(writer.head.created));
        let processes = processes.into_iter().map(|(name, writer)| Process {
            name: name.clone(),
            pid: Some(writer.head.pid),
            index: Some(writer.head.index),
            started: time(writer.head.created),
            heartbeat: time(writer.heartbeat),
            is_alive: writer.dead_since.is_none(),
            snapshot: writer.snapshot.clone(),
        });
        let skipped = reader.skipped.iter();
        let skipped = skipped.map(|(name, reason)| (name.clone(), reason.to_string()));
        Ok(Overview {
            processes: processes.collect(),
            folded: reader.totals.snapshot.clone(),
            skipped: skipped.collect(),
        })
    }

    /// Folds the files of all processes that have ended into the totals, now. Returns how many
    /// there were; 0 if another process folds at the same time.
    ///
    /// Scrapes do so by themselves, a few seconds after a process has ended, and so do processes
    /// that join once many have.
    ///
    /// # Errors
    ///
    /// As for [`snapshot`](Self::snapshot), and totals that cannot be written.
    pub fn fold(&self) -> Result<usize, Error> {
        let (_read, mut state) = self.lock();
        let conflict = |error: Error| error.at("left out of the totals").log_once();
        let folded = state.reader.fold(self.own_file()?.as_deref(), conflict)?;
        Ok(folded.unwrap_or(0))
    }

    /// Locks the state. The first guard, which a `fork` waits for, has to be dropped last.
    fn lock(&self) -> (RwLockReadGuard<'static, ()>, MutexGuard<'_, ReaderState>) {
        let read = reading();
        let state = self.0.state.lock().unwrap_or_else(PoisonError::into_inner);
        (read, state)
    }
}

impl Source for Dir {
    /// Takes a snapshot. If there is none, it is that of the last time.
    fn snapshot_into(&self, snapshot: &mut Snapshot) {
        let (_read, mut state) = self.lock();
        if let Err(error) = self.refresh(&mut state) {
            crate::error::warn_once(&error);
        }
        snapshot.clone_from(&state.last);
    }

    fn try_snapshot_into(&self, snapshot: &mut Snapshot) -> Result<(), Error> {
        let (_read, mut state) = self.lock();
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
