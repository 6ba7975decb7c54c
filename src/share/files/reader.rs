//! The reader of a directory: the totals of dead writers and the open files of the others.
//!
//! # Protocol
//!
//! A process that *folds* holds the lock of the directory. It adds the files of dead writers to the
//! totals and publishes them as a new generation, whose list has the ids of these writers. Only
//! then it removes the files. The new name appears in one step (`link`), and fails to appear if it
//! exists.
//!
//! - D1: The totals of a generation include exactly the writers that were folded up to it. Those
//!   whose files could still be seen at that time are in its list.
//! - D2: A file that is removed from the directory never comes back. A file is removed only after a
//!   generation that includes it was published.
//! - D3: A generation is published by the holder of the lock, once. Generations only go up.
//!
//! A reader lists the directory, takes the last generation, and opens every file that its list does
//! not have. It lists the directory again. If the last generation is still the same, its totals and
//! the files together have each writer exactly once:
//!
//! - A writer that is folded in this generation is in the list, or its file was removed before the
//!   generation was published (D1, D2). The reader then cannot open it, and starts again.
//! - A writer that is not folded has its file, and the reader has opened it.
//!
//! Otherwise the reader starts again. If that happens too often, it takes the lock, so that nobody
//! folds while it reads.
//!
//! A process that is killed between publishing and removing leaves a file whose id is in the list.
//! Readers skip it, and the next process that folds removes it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::Error;
use crate::share::bytes::ensure;
use crate::share::merge::Merger;
use crate::share::store;
use crate::snapshot::Snapshot;

use super::between;
use super::directory::{Directory, Listing, Lock, is_dead, is_full, totals_name};
use super::read::{Refused, WriterFile, WriterId};
use super::totals::Totals;

/// The number of times that a reader starts again before it takes the lock.
const TRIES: u32 = 20;

/// The number of dead writers that are folded without waiting for the grace time, and by a process
/// that joins.
const MANY_DEAD: usize = 64;

/// The most dead writers that a process that joins folds.
const MOST_AT_START: usize = 4 * MANY_DEAD;

/// The memory of a directory since it was read last.
pub(super) struct DirectoryReader {
    directory: Directory,
    /// For messages.
    path: PathBuf,
    /// The hash of the system's boot id.
    boot: u64,
    /// The totals that were read last.
    pub(super) totals: Totals,
    /// The last generation when they were read; 0 if there was none. `None` if nothing was read.
    last_generation: Option<u64>,
    /// The files of writers that are not in the totals, by name.
    pub(super) writers: BTreeMap<String, WriterFile>,
    /// The files that were skipped in the last read, with the reasons.
    pub(super) skipped: BTreeMap<String, Refused>,
    /// The reasons that were logged.
    logged: BTreeSet<String>,
    /// Whether it logs why it skips a file.
    logs: bool,
}

impl DirectoryReader {
    pub(super) fn new(directory: Directory, path: PathBuf, boot: u64) -> Self {
        Self {
            directory,
            path,
            boot,
            totals: Totals::default(),
            last_generation: None,
            writers: BTreeMap::new(),
            skipped: BTreeMap::new(),
            logged: BTreeSet::new(),
            logs: true,
        }
    }

    /// Reads the totals, and the values of all other writers.
    ///
    /// `own` is the name of the file of this process.
    pub(super) fn read(&mut self, own: Option<&str>) -> Result<(), Error> {
        for _ in 0..TRIES {
            let listing = self.list(own)?;
            if !self.try_read(&listing, own)? {
                continue;
            }
            let again = self.list(own)?;
            if again.generations.last() == listing.generations.last() {
                return self.check_own(own);
            }
        }
        // Others fold all the time. They stop while this process has the lock, which they do not
        // hold for longer than a fold.
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if let Some(_lock) = self.directory.try_lock() {
                let listing = self.list(own)?;
                if self.try_read(&listing, own)? {
                    return self.check_own(own);
                }
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let why = "other processes change the directory all the time";
        Err(self.error(io::Error::new(io::ErrorKind::TimedOut, why)))
    }

    /// Returns an error if the file of this process was skipped: without its counts, totals would
    /// go back.
    fn check_own(&self, own: Option<&str>) -> Result<(), Error> {
        match own.and_then(|own| self.skipped.get(own)) {
            None => Ok(()),
            Some(refused) => Err(self.error(io::Error::other(format!(
                "the file of this process cannot be read: {refused}"
            )))),
        }
    }

    fn error(&self, cause: io::Error) -> Error {
        Error::of_file("cannot read the shared directory", &self.path, cause)
    }

    fn list(&self, own: Option<&str>) -> Result<Listing, Error> {
        let listing = self.directory.list();
        let listing = listing.map_err(|error| self.error(error))?;
        match own {
            // Without the counts of this process, totals would go back.
            Some(own) if !listing.writers.iter().any(|name| name == own) => {
                let why = format!("the file {own} of this process was removed from it");
                Err(self.error(io::Error::new(io::ErrorKind::NotFound, why)))
            }
            _ => Ok(listing),
        }
    }

    /// Reads what is in a listing. Returns `false` if the directory has changed since.
    fn try_read(&mut self, listing: &Listing, own: Option<&str>) -> Result<bool, Error> {
        if !self.read_totals(listing)? {
            return Ok(false);
        }
        self.skipped.retain(|name, _| name.starts_with("totals-"));
        self.writers
            .retain(|name, _| listing.writers.binary_search(name).is_ok());
        for name in &listing.writers {
            match self.read_writer(name, own == Some(name)) {
                Ok(()) => {}
                Err(Refused::Gone) => return Ok(false),
                Err(Refused::Folded) => _ = self.writers.remove(name),
                // Without what it counts, this page would go back.
                Err(refused) if refused.is_passing() => return Err(self.refuse(name, &refused)),
                Err(refused) => {
                    self.writers.remove(name);
                    self.skip(name, refused);
                }
            }
        }
        self.skip_copies();
        Ok(true)
    }

    /// Skips all but one of the files with the same id: the one of a live process, or the first.
    /// Folding a copy would make the totals include a process that lives.
    fn skip_copies(&mut self) {
        let all = self
            .writers
            .iter()
            .map(|(name, writer)| (writer.head.id, writer.dead_since.is_some(), name.clone()));
        let all: BTreeSet<_> = all.collect();
        for ((one, ..), (other, _, name)) in all.iter().zip(all.iter().skip(1)) {
            if one == other {
                self.writers.remove(name);
                self.skip(name, Refused::Damaged("it is a copy of another file"));
            }
        }
    }

    /// Returns the error that there is no page, because of a file.
    fn refuse(&self, name: &str, refused: &Refused) -> Error {
        self.error(io::Error::other(format!("{name}: {refused}")))
    }

    /// Reads the totals of the last generation, unless they are those that were read last. Returns
    /// `false` if another process has removed them.
    ///
    /// A generation that cannot be read is skipped, and the one before it counts: it was not
    /// removed yet, or the later one is somebody else's file.
    fn read_totals(&mut self, listing: &Listing) -> Result<bool, Error> {
        let last = listing.generations.last().copied().unwrap_or(0);
        if self.last_generation == Some(last) {
            return Ok(true);
        }
        self.skipped.clear();
        self.last_generation = None;
        self.totals = Totals::default();
        for generation in listing.generations.iter().rev() {
            match self.totals_of(*generation) {
                Ok(totals) => {
                    // From before the system was started, nothing counts.
                    if totals.boot == self.boot {
                        self.totals = totals;
                    }
                    break;
                }
                Err(Refused::Gone) => return Ok(false),
                // Without the totals of another version of the program, this page would go back.
                Err(refused @ Refused::OtherVersion(_)) => {
                    let cause = io::Error::new(io::ErrorKind::InvalidData, refused.to_string());
                    return Err(self.error(cause));
                }
                // This page would go back, and the next fold would leave these totals out for good.
                Err(refused) if refused.is_passing() => {
                    return Err(self.refuse(&totals_name(*generation), &refused));
                }
                Err(refused) => self.skip(&totals_name(*generation), refused),
            }
        }
        self.last_generation = Some(last);
        Ok(true)
    }

    fn totals_of(&self, generation: u64) -> Result<Totals, Refused> {
        let file = self.directory.open_file(&totals_name(generation))?;
        let totals = Totals::read(&file)?;
        let is_same = totals.generation == generation;
        ensure(is_same, "its name is that of another generation")?;
        Ok(totals)
    }

    /// Reads the values of a writer. `is_own` tells whether it is this process.
    fn read_writer(&mut self, name: &str, is_own: bool) -> Result<(), Refused> {
        // After the totals were read: see the module's text.
        let stat = self.directory.stat(name)?;
        let known = self.writers.get(name);
        if known.is_none_or(|writer| writer.inode != stat.st_ino) {
            let writer = WriterFile::open(self.directory.open_file(name)?, name, self.boot)?;
            self.writers.insert(name.to_owned(), writer);
        }
        let writer = self.writers.get_mut(name).ok_or(Refused::Gone)?;
        if self.totals.folded.contains(&writer.head.id) {
            return Err(Refused::Folded);
        }
        // Before the values: those of a writer that is dead now are final.
        if writer.dead_since.is_none() && is_dead(&writer.file) {
            writer.dead_since = Some(Instant::now());
        }
        between("death");
        writer.read(is_own)
    }

    /// Notes that a file is skipped. Logs each cause once.
    fn skip(&mut self, name: &str, refused: Refused) {
        let reason = format!("the shared file {name} is skipped: {refused}");
        if self.logs && self.logged.len() < 1000 && self.logged.insert(reason.clone()) {
            crate::error::warn(&reason);
        }
        self.skipped.insert(name.to_owned(), refused);
    }

    /// Merges what was read last. Calls `conflict` with each family that was left out.
    pub(super) fn merged(&self, conflict: impl FnMut(Error)) -> Snapshot {
        let mut merger = Merger::new();
        for writer in self.newest_first(|_| true) {
            match writer.dead_since {
                None => merger.live(writer.head.index, &writer.snapshot),
                Some(_) => merger.ended(&writer.snapshot),
            };
        }
        merger.ended(&self.totals.snapshot);
        merger.page(conflict)
    }

    /// Returns the open files for which `wanted` holds, those of writers that started last first.
    fn newest_first(&self, wanted: impl Fn(&WriterFile) -> bool) -> Vec<&WriterFile> {
        let writers = self.writers.values();
        let mut all: Vec<_> = writers.filter(|writer| wanted(writer)).collect();
        all.sort_by_key(|writer| std::cmp::Reverse((writer.head.created, writer.head.id)));
        all
    }

    /// Returns whether a fold is worth its cost: a writer has been dead for `grace`, or many are.
    pub(super) fn wants_fold(&self, grace: Duration) -> bool {
        let dead = self.writers.values().filter_map(|writer| writer.dead_since);
        dead.zip(1..)
            .any(|(since, count)| count >= MANY_DEAD || since.elapsed() >= grace)
    }

    /// Folds dead writers if there are many: if nobody is scraped, nobody else does. For a process
    /// that joins, so it does not wait, and leaves what is too much to others.
    pub(super) fn fold_at_start(&mut self) -> Result<(), Error> {
        // Scrapes log what is skipped. A process that starts, or a child of a fork, does not.
        self.logs = false;
        let listing = self.list(None)?;
        let foldable = listing.writers.iter().filter(|name| self.can_fold(name));
        if foldable.take(MANY_DEAD).count() == MANY_DEAD {
            self.fold_most(None, MOST_AT_START, |_| ())?;
        }
        Ok(())
    }

    /// Returns whether the writer of a file has died, and left what a fold can read or remove.
    fn can_fold(&self, name: &str) -> bool {
        let open = || WriterFile::open(self.directory.open_file(name)?, name, self.boot);
        self.directory.is_dead(name) && matches!(open(), Ok(_) | Err(Refused::OtherBoot))
    }

    /// Folds all dead writers into the totals of the next generation. Returns the number of writers
    /// that were folded, or `None` if another process folds now.
    ///
    /// Afterwards all has to be [read](Self::read) again.
    pub(super) fn fold(
        &mut self,
        own: Option<&str>,
        conflict: impl FnMut(Error),
    ) -> Result<Option<usize>, Error> {
        self.fold_most(own, usize::MAX, conflict)
    }

    /// Folds `most` dead writers. The others are not read.
    pub(super) fn fold_most(
        &mut self,
        own: Option<&str>,
        most: usize,
        mut conflict: impl FnMut(Error),
    ) -> Result<Option<usize>, Error> {
        let Some(lock) = self.directory.try_lock() else {
            return Ok(None);
        };
        let mut listing = self.list(own)?;
        let all = listing.writers.clone();
        if all.len() > most {
            let mut dead = 0;
            listing.writers.retain(|name| {
                if !self.directory.is_dead(name) {
                    return true;
                }
                let is_one = dead < most && self.can_fold(name);
                dead += usize::from(is_one);
                is_one
            });
        }
        // The lock excludes others that fold, so nothing is removed meanwhile. If something is
        // nevertheless, somebody else cleans up: leave it to them.
        if !self.try_read(&listing, own)? {
            return Ok(None);
        }
        let dead = self.newest_first(|writer| writer.dead_since.is_some());
        let mut most = dead.len();
        loop {
            match self.fold_locked(&lock, &listing, &all, most, &mut conflict) {
                // The totals of fewer need less space, and afterwards there is more.
                Err(error) if is_full(&error) && most > 1 => most /= 2,
                Ok(folded) => return Ok(Some(folded)),
                Err(cause) => {
                    let action = "cannot fold the files of dead processes in";
                    return Err(Error::of_file(action, &self.path, cause));
                }
            }
        }
    }

    /// Folds the dead writers that began first, of which there are at most `most`. `listing` is
    /// what was read, and `all` the names of all writers.
    fn fold_locked(
        &mut self,
        lock: &Lock,
        listing: &Listing,
        all: &[String],
        most: usize,
        conflict: impl FnMut(Error),
    ) -> io::Result<usize> {
        let mut dead = self.newest_first(|writer| writer.dead_since.is_some());
        let dead = dead.split_off(dead.len().saturating_sub(most));
        let folded: Vec<_> = dead.iter().map(|writer| writer.head.id).collect();
        let mut generation = self.totals.generation;
        if !folded.is_empty() {
            // Above those that cannot be read, too.
            generation = self.last_generation.unwrap_or(generation) + 1;
            let mut merger = Merger::new();
            dead.iter()
                .for_each(|writer| _ = merger.ended(&writer.snapshot));
            merger.ended(&self.totals.snapshot);
            let mut snapshot = merger.fold(conflict);
            // Totals count as older than all processes. They must not displace what a live one
            // began before.
            snapshot
                .families
                .retain(|family| self.kind_of(family.name()) == Some(family.meta.kind.as_text()));
            snapshot.families.iter_mut().for_each(store::inline);
            // Of the writers that were folded earlier, those whose files were removed cannot be
            // seen any more (D2).
            let earlier = self.folded_files(all);
            let totals = Totals {
                boot: self.boot,
                generation,
                folded: earlier.into_iter().chain(folded.iter().copied()).collect(),
                snapshot,
            };
            let bytes = totals.to_bytes();
            if !self.directory.publish_totals(lock, generation, &bytes)? {
                return Ok(0);
            }
        }
        // From here on, everything that is removed is included in the totals.
        for old in listing.generations.iter().filter(|old| **old < generation) {
            self.directory.remove_totals(lock, *old)?;
        }
        for name in &listing.writers {
            let is_folded = match self.writers.get(name) {
                Some(writer) => folded.contains(&writer.head.id),
                None => match self.skipped.get(name) {
                    // From before the system was started (if its process lives, that is of another
                    // system, or one of them sees another boot id), or in the list of the totals.
                    Some(Refused::OtherBoot) | None => self.directory.is_dead(name),
                    Some(_) => false,
                },
            };
            if is_folded {
                self.directory.remove(name)?;
                // An open file keeps its space.
                self.writers.remove(name);
            }
        }
        self.directory.remove_temporary(lock, listing);
        Ok(folded.len())
    }

    /// Returns the kind that the page shows for a family: that of the totals, or else that of the
    /// process that began first.
    fn kind_of(&self, family: &str) -> Option<&'static str> {
        let writers = self.newest_first(|_| true).into_iter().rev();
        let writers = writers.map(|writer| (&writer.snapshot, writer.dead_since.is_none()));
        std::iter::once((&self.totals.snapshot, false))
            .chain(writers)
            .filter_map(|(snapshot, is_alive)| Some((snapshot.family(family)?, is_alive)))
            .find(|(family, is_alive)| *is_alive || !family.is_live_only())
            .map(|(family, _)| family.meta.kind.as_text())
    }

    /// Returns the ids of writers that are in the totals although their files still exist.
    fn folded_files(&self, all: &[String]) -> Vec<WriterId> {
        // The id of a file that is in the totals already was read from the file and not kept, so
        // all ids stay as long as there is such a file.
        let is_left =
            |name: &String| !self.writers.contains_key(name) && !self.skipped.contains_key(name);
        if all.iter().any(is_left) {
            self.totals.folded.iter().copied().collect()
        } else {
            Vec::new()
        }
    }
}
