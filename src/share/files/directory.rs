//! The directory that the processes of an application share: what is in it, and the few system
//! calls that change it.
//!
//! Every call is relative to the open directory. So a directory that is deleted and made again is
//! not confused with this one.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::mapped::region;

use super::format::checksum;

/// The suffix of the file of a writer.
pub(super) const WRITER: &str = ".pm";
/// The prefix of the totals of dead writers. The generation follows.
const TOTALS: &str = "totals-";
/// The prefix of files that are not complete yet.
pub(super) const TEMPORARY: &str = ".tmp-";
/// The prefix of totals that are not complete yet. Only the holder of the lock writes them.
const TEMPORARY_TOTALS: &str = ".tmp-totals-";

/// An open directory.
pub(super) struct Directory(OwnedFd);

/// The names in a directory at one time.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The generations of totals, in ascending order. A reader uses the last one.
    pub(super) generations: Vec<u64>,
    /// The names of the files of writers, sorted.
    pub(super) writers: Vec<String>,
    /// The names of files that a process did not complete.
    temporary: Vec<String>,
}

/// The lock that a process holds while it folds the files of dead writers.
pub(super) struct Lock(OwnedFd);

impl Drop for Lock {
    fn drop(&mut self) {
        // Not only closed: a child of `fork` may have the same open file.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl Directory {
    /// Opens a directory.
    ///
    /// # Errors
    ///
    /// A directory that belongs to another user, or that others may use: files in it could be
    /// anything, and any user who can open it can hold its lock.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&directory)?;
        let denied = |what| Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return denied("it belongs to another user");
        }
        if stat.st_mode & 0o077 != 0 {
            return denied("it is open to other users; its mode has to be 0700");
        }
        Ok(Self(directory))
    }

    /// Lists the directory.
    ///
    /// # Errors
    ///
    /// A directory that was deleted, or cannot be read.
    pub(super) fn list(&self) -> io::Result<Listing> {
        let listing = self.names()?;
        // File systems read a large directory part by part, in any order. In models, all totals
        // come first.
        #[cfg(all(test, not(miri)))]
        let listing = Listing {
            writers: self.names()?.writers,
            ..listing
        };
        if listing.writers.is_empty() && rustix::fs::fstat(&self.0)?.st_nlink == 0 {
            let why = "the directory was deleted";
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        Ok(listing)
    }

    fn names(&self) -> io::Result<Listing> {
        let mut listing = Listing::default();
        step();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if let Some(generation) = generation_of(name) {
                listing.generations.push(generation);
            } else if name.starts_with(TEMPORARY) {
                listing.temporary.push(name.to_owned());
            } else if name.ends_with(WRITER) {
                listing.writers.push(name.to_owned());
            }
        }
        listing.generations.sort_unstable();
        listing.writers.sort_unstable();
        Ok(listing)
    }

    /// Opens a file for reading. Does not follow links, and does not wait for a pipe.
    pub(super) fn open_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        step();
        let file = rustix::fs::openat(&self.0, name, flags, Mode::empty())?;
        Ok(file.into())
    }

    /// Creates a file.
    pub(super) fn create(&self, name: &str) -> io::Result<File> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(file.into())
    }

    pub(super) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, from, &self.0, to)?)
    }

    /// Returns the description of a file.
    pub(super) fn stat(&self, name: &str) -> io::Result<Stat> {
        step();
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        Ok(rustix::fs::statat(&self.0, name, flags)?)
    }

    /// Returns whether the file is that of a writer that has ended. A file that cannot be opened is
    /// not.
    pub(super) fn is_dead(&self, name: &str) -> bool {
        self.open_file(name).is_ok_and(|file| is_dead(&file))
    }

    /// Returns the space that the last totals take, in bytes.
    pub(super) fn totals_len(&self) -> io::Result<u64> {
        let last = self.list()?.generations.last().copied();
        let stat = last.and_then(|last| self.stat(&totals_name(last)).ok());
        Ok(stat.map_or(0, |stat| 512 * stat.st_blocks as u64))
    }

    /// Takes the lock of the directory. Returns `None` if another process has it.
    pub(super) fn try_lock(&self) -> Option<Lock> {
        // An open file of its own: the lock belongs to it, and ends with it.
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        step();
        let own = rustix::fs::openat(&self.0, ".", flags, Mode::empty()).ok()?;
        rustix::fs::flock(&own, FlockOperation::NonBlockingLockExclusive).ok()?;
        Some(Lock(own))
    }

    /// Writes the totals of a generation. Returns `false` if the generation exists: another process
    /// has written it although this one holds the lock.
    ///
    /// The file appears complete or not at all.
    pub(super) fn publish_totals(
        &self,
        _lock: &Lock,
        generation: u64,
        bytes: &[u8],
    ) -> io::Result<bool> {
        if generation_of(&totals_name(generation)) != Some(generation) {
            // Readers would not find it.
            return Err(io::Error::other(format!(
                "no totals can follow the file `{}`, which is not one of this crate",
                totals_name(generation.wrapping_sub(1))
            )));
        }
        // Beyond the limit, a write would be a signal that ends the process.
        region::check_file_limit(bytes.len() as u64)?;
        // A write that fills the disk would make it full for processes that grow meanwhile.
        region::check_space(&self.0, bytes.len() as u64)?;
        let temporary = format!("{TEMPORARY_TOTALS}{}-{generation}", std::process::id());
        step();
        let file = match self.create(&temporary) {
            // Left by a process that had this number.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.remove(&temporary)?;
                self.create(&temporary)?
            }
            file => file?,
        };
        step();
        let written = self.write_and_link(file, &temporary, generation, bytes);
        step();
        let removed = self.remove(&temporary);
        let is_new = written?;
        removed?;
        Ok(is_new)
    }

    fn write_and_link(
        &self,
        mut file: File,
        temporary: &str,
        generation: u64,
        bytes: &[u8],
    ) -> io::Result<bool> {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        file.write_all(first)?;
        step();
        file.write_all(second)?;
        step();
        // A link, not a rename: it fails if the name exists.
        let name = totals_name(generation);
        match rustix::fs::linkat(&self.0, temporary, &self.0, &name, AtFlags::empty()) {
            Err(Errno::EXIST) => Ok(false),
            linked => Ok(linked.map(|()| true)?),
        }
    }

    /// Removes a file. A file that does not exist is fine.
    pub(super) fn remove(&self, name: &str) -> io::Result<()> {
        step();
        match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) fn remove_totals(&self, _lock: &Lock, generation: u64) -> io::Result<()> {
        self.remove(&totals_name(generation))
    }

    /// Removes the totals that processes did not complete, and files of writers that were not
    /// completed for an hour.
    pub(super) fn remove_temporary(&self, _lock: &Lock, listing: &Listing) {
        const HOUR: u64 = 3600;
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime).tv_sec;
        let is_old = |stat: Stat| now.abs_diff(stat.st_mtime) > HOUR;
        for name in &listing.temporary {
            // Only the holder of the lock writes totals.
            if name.starts_with(TEMPORARY_TOTALS) || self.stat(name).is_ok_and(is_old) {
                let _ = self.remove(name);
            }
        }
    }
}

/// Returns a path without slashes at its end, behind which a link would be followed.
pub(super) fn without_slash(path: &Path) -> PathBuf {
    path.components().collect()
}

/// Returns whether there is no space left.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

/// Returns the hash of the boot id of the system; that of an empty one where there is no `/proc`.
pub(super) fn boot_hash() -> io::Result<u64> {
    let id = match std::fs::read_to_string("/proc/sys/kernel/random/boot_id") {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        id => id?,
    };
    Ok(checksum(id.trim().as_bytes()))
}

/// Returns whether no process holds the lock of a writer's file: the writer is dead.
///
/// Takes a shared lock for a moment, so readers do not take each other for the writer.
pub(super) fn is_dead(file: &File) -> bool {
    let dead = rustix::fs::flock(file, FlockOperation::NonBlockingLockShared).is_ok();
    if dead {
        let _ = rustix::fs::flock(file, FlockOperation::Unlock);
    }
    dead
}

/// Returns the name of the totals of a generation.
pub(super) fn totals_name(generation: u64) -> String {
    format!("{TOTALS}{generation}")
}

/// Returns the generation of totals with this name.
fn generation_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(TOTALS)?;
    let generation = digits.parse().ok()?;
    // Not `+1` or `01`: each generation has one name. Nobody gets to the last ones by counting.
    (totals_name(generation) == *name && generation < u64::MAX / 2).then_some(generation)
}

/// Marks a point at which a test kills the process, or lets another one run.
#[cfg(all(test, not(miri)))]
fn step() {
    super::tests::step();
}

#[cfg(not(all(test, not(miri))))]
fn step() {}
