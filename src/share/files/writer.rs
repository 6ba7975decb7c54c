//! The file of this process.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};

use crate::error::Error;
use crate::mapped::region;

use super::dir::Dir;
use super::directory::{
    Directory, Lock, TEMPORARY, WRITER, boot_hash, is_dead, is_full, without_slash,
};
use super::format::{self, checksum, header};
use super::view::View;

/// The file of this process, once it has one.
static OWN: Mutex<Option<Own>> = Mutex::new(None);

#[derive(Debug)]
pub(super) struct Own {
    directory: PathBuf,
    name: String,
}

/// The reason why this process, a child of `fork`, has no file. Set once.
static NO_FILE: OnceLock<String> = OnceLock::new();

/// Notes that this process, a child of `fork`, gets no file.
pub(super) fn set_no_file(reason: &io::Error) {
    let _ = NO_FILE.set(reason.to_string());
}

pub(super) fn own() -> MutexGuard<'static, Option<Own>> {
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the name of the file of this process, which takes part.
///
/// # Errors
///
/// A child of `fork` that could not make a file: a page would not have what it counts.
pub(super) fn own_file() -> io::Result<String> {
    let own = own().as_ref().map(|own| own.name.clone());
    own.ok_or_else(|| {
        let reason = NO_FILE.get().map_or("", String::as_str);
        io::Error::other(format!(
            "this process was forked and could not make a file of its own: {reason}"
        ))
    })
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
    make_directory(path)?;
    let directory = Directory::open(path)?;
    let full_path = path.canonicalize()?;
    match &*own {
        Some(own) if own.directory == full_path => return Dir::new(path, directory, true),
        Some(own) => {
            let other = own.directory.display();
            return Err(io::Error::other(format!(
                "this process shares its metrics in `{other}` already"
            )));
        }
        None => {}
    }
    // Before there is a file: a fork of another thread then waits until all is done.
    super::fork::register_hooks();
    crate::registry::registry().start_over_after_fork();
    let mut view = View::new(Directory::open(path)?, path.to_owned(), boot_hash()?);
    let name = loop {
        match share(path, &directory, false) {
            // The files of processes that have ended may be what fills the disk.
            Err(error) if is_full(&error) => match view.fold(None, |_| ()) {
                Ok(Some(1..)) => {}
                _ => return Err(error),
            },
            shared => break shared?,
        }
    };
    *own = Some(Own {
        directory: full_path,
        name,
    });
    drop(own);
    Dir::new(path, directory, true)
}

/// Makes a file in which this process counts from now on. Returns its name. In the child of a
/// `fork`, the caller has the locks of the registry.
fn share(path: &Path, directory: &Directory, is_child: bool) -> io::Result<String> {
    let boot = boot_hash()?;
    let id = random()?;
    let name = format!("{}.{}{WRITER}", program(), hexadecimal(&id));
    let fresh = Fresh::create(path, &id)?;
    let file = fresh.file()?;
    // Processes choose their numbers one after the other.
    let lock = wait_for_lock(directory);
    let index = free_index(directory)?;
    let spare = directory.totals_len()?;
    let publish = || {
        let header = || fill(&id, index, boot);
        region::publish(&mut region::lock(), file, spare, header, || {
            fresh.rename(&name)
        })
    };
    match is_child {
        true => publish()?,
        false => crate::registry::registry().publish(publish)?,
    }
    drop(lock);
    Ok(name)
}

/// Makes a file for the child of a `fork`, in the directory of its parent's.
pub(super) fn share_again(parent: Own) -> io::Result<Own> {
    let directory = parent.directory;
    let name = share(&directory, &Directory::open(&directory)?, true)?;
    Ok(Own { directory, name })
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
    let used: BTreeSet<u32> = listing
        .writers
        .iter()
        .filter_map(|name| {
            let file = directory.open_file(name).ok()?;
            let mut index = [0; 4];
            file.read_exact_at(&mut index, header::GAUGE_INDEX as u64)
                .ok()?;
            (!is_dead(&file)).then_some(u32::from_ne_bytes(index))
        })
        .collect();
    let mut used = used.into_iter().peekable();
    Ok((0..)
        .find(|index| used.next_if_eq(index).is_none())
        .unwrap_or(0))
}

fn make_directory(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// A file that is not complete yet. Removed when this is dropped, unless it was renamed.
struct Fresh {
    directory: OwnedFd,
    name: String,
    file: OwnedFd,
}

impl Fresh {
    /// Creates an empty file, and locks it for the life of this process.
    fn create(path: &Path, id: &[u8; 16]) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let name = format!("{TEMPORARY}{}", hexadecimal(id));
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&directory, &name, flags, mode)?;
        let fresh = Self {
            directory,
            name,
            file,
        };
        rustix::fs::flock(&fresh.file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(fresh)
    }

    /// Returns the open file. It has the lock as long as it is open.
    fn file(&self) -> io::Result<File> {
        Ok(self.file.try_clone()?.into())
    }

    fn rename(&self, name: &str) -> io::Result<()> {
        let directory = self.directory.as_fd();
        Ok(rustix::fs::renameat(
            directory, &self.name, directory, name,
        )?)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        // It does not exist any more if it was renamed.
        let _ = rustix::fs::unlinkat(&self.directory, &self.name, rustix::fs::AtFlags::empty());
    }
}

/// Stores the words of the header. Relaxed: the file is not published yet.
fn fill(id: &[u8; 16], index: u32, boot: u64) {
    let halves = |first: u32, second: u32| {
        let [a, b, c, d] = first.to_ne_bytes();
        let [e, f, g, h] = second.to_ne_bytes();
        u64::from_ne_bytes([a, b, c, d, e, f, g, h])
    };
    let word = |bytes: &[u8]| u64::from_ne_bytes(bytes.try_into().expect("eight bytes"));
    let address_bytes = size_of::<usize>() as u32;
    let words = [
        (header::MAGIC, word(&format::MAGIC)),
        (header::VERSION, halves(format::VERSION, format::BYTE_ORDER)),
        (header::ADDRESS_BYTES, halves(address_bytes, 0)),
        (header::BOOT, boot),
        (header::PID, halves(std::process::id(), index)),
        (header::CREATED, crate::clock::millis()),
        (header::PROCESS_START, process_start()),
        (
            header::CRATE,
            checksum(env!("CARGO_PKG_VERSION").as_bytes()),
        ),
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

fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the name of the program, as far as a file name may have it.
fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || c == '-' {
            c
        } else {
            '_'
        }
    };
    let name: String = name.chars().take(64).map(plain).collect();
    if name.is_empty() {
        "program".into()
    } else {
        name
    }
}
