//! The file of this process.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::FlockOperation;

use crate::error::Error;
use crate::mapped::{record::halves, region};

use super::dir::Dir;
use super::directory::{
    Directory, Lock, TEMPORARY, WRITER, boot_hash, is_dead, is_full, without_slash,
};
use super::format::{self, checksum, header};
use super::read::WriterId;
use super::reader::DirectoryReader;

/// The file of this process, once it has one; in a child of `fork` that could not make one, the
/// reason.
pub(super) type OwnWriter = Option<Result<OwnFile, String>>;

static OWN: Mutex<OwnWriter> = Mutex::new(None);

pub(super) struct OwnFile {
    directory: PathBuf,
    name: String,
}

pub(super) fn own() -> MutexGuard<'static, OwnWriter> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the name of the file of this process, which takes part.
///
/// # Errors
///
/// A child of `fork` that could not make a file: a page would not have what it counts.
pub(super) fn own_file() -> io::Result<String> {
    let reason = match &*own() {
        Some(Ok(own)) => return Ok(own.name.clone()),
        Some(Err(reason)) => reason.clone(),
        None => String::new(),
    };
    let why = format!("this process was forked and could not make a file of its own: {reason}");
    Err(io::Error::other(why))
}

/// Shares the metrics of this process with all processes that call this function with the same
/// directory.
///
/// Call it once, at the start of `main`. The directory is made if it does not exist; it should be
/// on a tmpfs, such as `/dev/shm` or `$XDG_RUNTIME_DIR`, and belong to one program. The result has
/// the merged metrics of all processes; serve it instead of the registry.
///
/// ```
/// # let path = std::env::temp_dir().join(format!("tallies-doc-{}-5", std::process::id()));
/// let shared = tallies::share::dir(&path)?;
/// let page = tallies::encode::text(&shared.snapshot()?);
/// # std::fs::remove_dir_all(&path).unwrap();
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// From then on, the families of the default registry count in a file of the directory, with the
/// same instructions as before. What an update returned from is in the file, also if the process is
/// killed. What was counted before the call is carried over. Other threads should not update
/// metrics meanwhile: a gauge that they set may lose the value, and what they have counted before
/// is in the file after their next update.
///
/// The file begins with 256 KiB and grows in such steps, with the most series and threads that the
/// process had at one time, up to 16 GiB. It never shrinks. A `fork` takes as long as writing a
/// file of this size, because the child gets one of its own. If the disk is full, further series
/// count in private memory, and this process alone exports them; `tallies_cells_not_shared_total`
/// counts their words.
///
/// A later call with the same directory returns the same. A child of `fork` gets a file of its own,
/// and starts at zero. So does a child whose parent had counted, but not called this function: it
/// calls it first of all, because what it counts between the fork and the call is dropped with what
/// it inherited.
///
/// # Errors
///
/// Returns an error if the directory cannot be made or used, belongs to another user, or is open to
/// other users, if the disk is full, or if the process shares its metrics in another directory.
pub fn dir(path: impl AsRef<Path>) -> Result<Dir, Error> {
    let path = &without_slash(path.as_ref());
    start(path).map_err(|cause| Error::of_file("cannot share metrics in", path, cause))
}

fn start(path: &Path) -> io::Result<Dir> {
    // Before the lock of `own`: a fork takes it after what a first use of a static holds.
    crate::registry::registry().enlist();
    let mut own = own();
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let directory = Directory::open(path)?;
    let full_path = path.canonicalize()?;
    match &*own {
        Some(Ok(own)) if own.directory == full_path => return Dir::new(path, directory, true),
        Some(Ok(own)) => {
            let other = own.directory.display();
            let why = format!("this process shares its metrics in `{other}` already");
            return Err(io::Error::other(why));
        }
        Some(Err(_)) | None => {}
    }
    // Before there is a file: a fork of another thread then waits until all is done.
    super::fork::register_hooks();
    crate::registry::registry().start_over_after_fork();
    let mut reader = DirectoryReader::new(Directory::open(path)?, path.to_owned(), boot_hash()?);
    let name = loop {
        match share(&directory, false) {
            // The files of processes that have ended may be what fills the disk.
            Err(error) if is_full(&error) => match reader.fold(None, |_| ()) {
                Ok(Some(1..)) => {}
                _ => return Err(error),
            },
            shared => break shared?,
        }
    };
    *own = Some(Ok(OwnFile {
        directory: full_path,
        name,
    }));
    drop(own);
    fold_at_start(path);
    Dir::new(path, directory, true)
}

/// Folds processes that have ended, if there are many of them. What goes wrong is logged, and the
/// next process tries again.
fn fold_at_start(path: &Path) {
    // A fork waits for it: its child must not have the directory's lock, or open files.
    let _read = super::dir::reading();
    let folded = Directory::open(path).and_then(|directory| {
        let mut reader = DirectoryReader::new(directory, path.to_owned(), boot_hash()?);
        reader.fold_at_start().map_err(io::Error::other)
    });
    if let Err(error) = folded {
        crate::error::warn_once(&error);
    }
}

/// Folds, in the child of a `fork`, which has joined, as a process that starts does.
pub(super) fn fold_in_child() {
    let directory = match &*own() {
        Some(Ok(own)) => own.directory.clone(),
        _ => return,
    };
    fold_at_start(&directory);
}

/// Makes a file in which this process counts from now on. Returns its name. In the child of a
/// `fork`, the caller has the locks of the registry.
fn share(directory: &Directory, is_child: bool) -> io::Result<String> {
    let boot = boot_hash()?;
    let id = random()?;
    let name = format!("{}.{id}{WRITER}", program());
    let fresh = Fresh {
        directory,
        name: format!("{TEMPORARY}{id}"),
    };
    let file = directory.create(&fresh.name)?;
    // For the life of this process: the region keeps the file open.
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
    // Processes choose their numbers one after the other.
    let lock = wait_for_lock(directory);
    let index = free_index(directory)?;
    let spare = directory.totals_len()?;
    let publish = |list_blocks: &dyn Fn()| {
        let mut memory = region::lock();
        list_blocks();
        let header = || fill(id, index, boot);
        region::publish(&mut memory, file, spare, header, || {
            directory.rename(&fresh.name, &name)
        })
    };
    match is_child {
        true => publish(&|| ())?,
        false => crate::registry::registry().publish(publish)?,
    }
    drop(lock);
    Ok(name)
}

/// Makes a file for the child of a `fork`, in the directory of its parent's.
pub(super) fn share_again(parent: OwnFile) -> io::Result<OwnFile> {
    let directory = parent.directory;
    let name = share(&Directory::open(&directory)?, true)?;
    Ok(OwnFile { directory, name })
}

/// Waits for the lock of the directory, but not long: a process that folds files has it for a
/// moment, and the number of a gauge is not worth more.
fn wait_for_lock(directory: &Directory) -> Option<Lock> {
    let end = Instant::now() + Duration::from_secs(1);
    loop {
        let lock = directory.try_lock();
        if lock.is_some() || Instant::now() > end {
            return lock;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns the smallest number that no live process of the directory has.
fn free_index(directory: &Directory) -> io::Result<u32> {
    let listing = directory.list()?;
    let used = listing.writers.iter().filter_map(|name| {
        let file = directory.open_file(name).ok()?;
        let mut index = [0; 4];
        let read = file.read_exact_at(&mut index, header::GAUGE_INDEX as u64);
        (read.is_ok() && !is_dead(&file)).then_some(u32::from_ne_bytes(index))
    });
    let used: BTreeSet<u32> = used.collect();
    let free = (0..).find(|index| !used.contains(index));
    Ok(free.unwrap_or(0))
}

/// The name of a file that is not complete yet. The file is removed when this is dropped, unless it
/// was renamed.
struct Fresh<'a> {
    directory: &'a Directory,
    name: String,
}

impl Drop for Fresh<'_> {
    fn drop(&mut self) {
        let _ = self.directory.remove(&self.name);
    }
}

/// Stores the words of the header. Relaxed: the file is not published yet.
fn fill(WriterId(id): WriterId, index: u32, boot: u64) {
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
    let (version, address_bytes) = (env!("CARGO_PKG_VERSION"), size_of::<usize>() as u32);
    let words = [
        (header::MAGIC, word(&format::MAGIC)),
        (header::VERSION, halves(format::VERSION, format::BYTE_ORDER)),
        (header::ADDRESS_BYTES, halves(address_bytes, 0)),
        (header::BOOT, boot),
        (header::PID, halves(std::process::id(), index)),
        (header::CREATED, crate::clock::millis()),
        (header::PROCESS_START, process_start()),
        (header::CRATE, checksum(version.as_bytes())),
        (header::ID, word(&id[..8])),
        (header::ID + 8, word(&id[8..])),
        (header::HEARTBEAT, crate::clock::millis()),
    ];
    for (offset, value) in words {
        if let Some(word) = region::header_word(offset) {
            word.store(value, crate::sync::Relaxed);
        }
    }
}

/// Returns when this process started, in ticks since boot, or 0.
fn process_start() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name may have spaces and parentheses. Field 3 follows the last one.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let start = fields.split_whitespace().nth(22 - 3);
    start.and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
}

fn random() -> io::Result<WriterId> {
    let mut bytes = [0; 16];
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut bytes)?;
    Ok(WriterId(bytes))
}

/// Returns the name of the program, as far as a file name may have it.
fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let mut name = name.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "_");
    name.truncate(64);
    if name.is_empty() {
        name.push_str("program");
    }
    name
}
