//! Reads the file of a writer: its families and their values, as one snapshot.
//!
//! `docs/mapped-files.md` has the format. A reader follows the addresses in the file and adds up.
//! It asks nobody and waits for nobody: a process that hangs, is stopped or has ended is read like
//! any other.
//!
//! A live process changes its file meanwhile. A family is read again if counts moved, if memory was
//! used again, or if series were retired while it was read. If that happens too often, the snapshot
//! of the last read stays: totals that are a little old are right, those that are lower are not.
//!
//! Bytes may come from elsewhere. Every address is checked, texts and sketches are as this crate
//! writes them, and the work is limited by the length of the file.

mod blocks;
mod description;
mod family;
mod memory;
mod stream;
mod total;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::Instant;

use rustix::io::Errno;

use crate::mapped::region::image::Image;
use crate::share::bytes::{Malformed, ensure};
use crate::snapshot::Snapshot;
use crate::sync::Acquire;

use super::format::{self, BYTE_ORDER, EXTENT, MAGIC, MOST_EXTENTS, header};
use family::Known;
use memory::{Failed, WorkLimit, WriterMemory};

/// The number of times that a family is read before the last snapshot is used.
const TRIES: u32 = 200;

/// The number that a writer chose at random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WriterId(pub(super) [u8; 16]);

impl fmt::Display for WriterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The reason why another kind of file is not read.
const FOREIGN: &str = "it is not a file of this crate";

/// Why a file is not read.
#[derive(Debug)]
pub(super) enum Refused {
    /// The file was removed.
    Gone,
    /// The totals include the writer.
    Folded,
    /// A version of the format that this version of the crate does not know.
    OtherVersion(u32),
    /// It was written before the system was started.
    OtherBoot,
    /// The writer changes it all the time.
    Busy,
    /// The content is not what a writer writes.
    Damaged(&'static str),
    /// The system refuses.
    Io(io::Error),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("it was removed"),
            Self::Folded => f.write_str("it is included in the totals"),
            Self::OtherVersion(version) => write!(
                f,
                "its format has version {version}, and this program reads {}",
                format::VERSION
            ),
            Self::OtherBoot => f.write_str("it is from before the system was started"),
            Self::Busy => f.write_str("its process changes it all the time"),
            Self::Damaged(why) => f.write_str(why),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl Refused {
    /// Returns whether the reason may be gone with the next try, and says nothing about the file:
    /// what it counts is missing from a page without it.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Io(error) => matches!(
                Errno::from_io_error(error),
                Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::INTR | Errno::IO)
            ),
            Self::Busy => true,
            _ => false,
        }
    }
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Gone,
            io::ErrorKind::UnexpectedEof => Self::Damaged("it is cut off"),
            _ => Self::Io(error),
        }
    }
}

impl From<Malformed> for Refused {
    fn from(malformed: Malformed) -> Self {
        Self::Damaged(malformed.0)
    }
}

/// The file of a writer.
pub(super) struct WriterFile {
    pub(super) file: File,
    /// The number of the file in its file system: another file may get its name.
    pub(super) inode: u64,
    /// The time at which this process found out that the writer is dead.
    pub(super) dead_since: Option<Instant>,
    pub(super) head: WriterHeader,
    /// The words of the file. Written by the writer while it lives.
    image: Option<Image>,
    /// Whether `snapshot` has what the writer had counted when it ended.
    is_final: bool,
    /// The known families, by the address of their records.
    known: HashMap<u64, Known>,
    /// The values that were read last.
    pub(super) snapshot: Snapshot,
    /// Whether `snapshot` was read.
    is_read: bool,
    /// The time of the writer's last pass, in milliseconds since 1970.
    pub(super) heartbeat: u64,
    /// The number of words that the writer could not share, because the disk was full.
    pub(super) unpublished: u64,
}

/// The constant fields of a header.
#[derive(Clone, Copy, Debug)]
pub(super) struct WriterHeader {
    pub(super) id: WriterId,
    pub(super) pid: u32,
    /// The number of the writer, which no other live writer has.
    pub(super) index: u32,
    /// The time at which the file was made, in milliseconds since 1970.
    pub(super) created: u64,
}

impl WriterFile {
    /// Checks the header of a file.
    pub(super) fn open(file: File, name: &str, boot: u64) -> Result<Self, Refused> {
        let meta = file.metadata()?;
        let has_header = meta.is_file() && meta.len() >= header::BYTES as u64;
        ensure(has_header, FOREIGN)?;
        let mut bytes = [0; header::BYTES];
        file.read_exact_at(&mut bytes, 0)?;
        let head = WriterHeader::read(&bytes, boot)?;
        // A copy would count twice.
        let is_named = name.contains(&head.id.to_string());
        ensure(is_named, "its name is that of another file")?;
        Ok(Self::new(file, meta.ino(), head))
    }

    fn new(file: File, inode: u64, head: WriterHeader) -> Self {
        Self {
            file,
            inode,
            dead_since: None,
            head,
            image: None,
            is_final: false,
            known: HashMap::new(),
            snapshot: Snapshot::default(),
            is_read: false,
            heartbeat: 0,
            unpublished: 0,
        }
    }

    /// Reads the values. `is_own` tells whether the writer is this process.
    pub(super) fn read(&mut self, is_own: bool) -> Result<(), Refused> {
        if self.is_final {
            return Ok(());
        }
        let is_alive = self.dead_since.is_none();
        match self.read_image(is_alive, is_own) {
            // The values of the last time are right, although not new.
            Err(Refused::Busy) if self.is_read => return Ok(()),
            read => read?,
        }
        (self.is_read, self.is_final) = (true, !is_alive);
        Ok(())
    }

    fn read_image(&mut self, is_alive: bool, is_own: bool) -> Result<(), Refused> {
        if !is_alive {
            // It was mapped while the writer lived.
            self.image = None;
        }
        let mut doubts = 0;
        // A file grows seldom; more tries mean that it is not a writer's.
        for _ in 0..100 {
            let image = match self.image.take() {
                Some(image) if self.is_whole(&image)? => image,
                _ => self.load(is_alive, is_own)?,
            };
            let read = self.read_families(&image);
            let word = |at: usize| image.words()[at / 8].load(Acquire);
            self.heartbeat = word(header::HEARTBEAT);
            self.unpublished = word(header::UNPUBLISHED);
            match read {
                // The next try loads the file again.
                Err(Failed::Outgrown) => {}
                // Another family may have taken the name of one in between.
                Err(Failed::Damaged(_)) if is_alive && doubts < 3 => {
                    doubts += 1;
                    self.image = Some(image);
                }
                read => {
                    // The values of a dead writer do not change any more.
                    self.image = is_alive.then_some(image);
                    return Ok(read?);
                }
            }
        }
        Err(Refused::Busy)
    }

    /// Returns whether an image still fits its file: the file has not grown, and was not cut off.
    fn is_whole(&self, image: &Image) -> Result<bool, Refused> {
        let extents = image.words()[header::EXTENTS / 8].load(Acquire);
        let is_same = extents.checked_mul(EXTENT as u64) == Some(image.len());
        let is_whole = !is_same || self.file.metadata()?.len() >= image.len();
        ensure(is_whole, "it was cut off")?;
        Ok(is_same)
    }

    /// Loads the extents of the file.
    fn load(&self, is_alive: bool, is_own: bool) -> Result<Image, Refused> {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, header::EXTENTS as u64)?;
        let extents = u64::from_ne_bytes(word);
        let in_range = (1..=MOST_EXTENTS as u64).contains(&extents);
        ensure(in_range, "its number of extents is invalid")?;
        let bytes = extents * EXTENT as u64;
        let meta = self.file.metadata()?;
        ensure(meta.len() >= bytes, "it is cut off")?;
        // A writer allocates every block before it uses it. Holes are somebody else's: reading them
        // takes memory or time, and on a full disk a mapping of them ends with a signal. The own
        // file is what this process made, whatever its file system does with zeros.
        ensure(is_own || meta.blocks() * 512 >= bytes, "it has holes")?;
        let load = if is_alive { Image::map } else { Image::copy };
        Ok(load(&self.file, bytes as usize)?)
    }

    /// Reads all families of an image into the snapshot. If that fails, the snapshot stays.
    fn read_families(&mut self, image: &Image) -> Result<(), Failed> {
        let mut snapshot = Snapshot::default();
        snapshot.begin_pass();
        let budget = WorkLimit::new(image.len());
        let records = retry(image, &budget, |memory| {
            let mut records = Vec::new();
            let mut record = memory.published_header(header::FAMILIES);
            while let Some(address) = memory.range(record, format::family::BYTES as u64)? {
                records.push(address);
                record = memory.published(address + format::family::NEXT as u64);
            }
            Ok(records)
        })?;
        let listed: HashSet<_> = records.iter().copied().collect();
        self.known.retain(|address, _| listed.contains(address));
        for address in records {
            let known = self.known.entry(address).or_default();
            for family in retry(image, &budget, |memory| known.read(memory, address))? {
                match snapshot.position(family.name()) {
                    // Two statics that are declared alike.
                    Ok(at) => snapshot.families[at]
                        .merge(&family)
                        .map_err(|_| Failed::Damaged("two families have one name"))?,
                    Err(at) => snapshot.families.insert(at, family),
                }
            }
        }
        snapshot.end_pass();
        self.snapshot = snapshot;
        Ok(())
    }
}

/// Reads bytes as the file of a dead writer, whatever its id and the boot of its system.
#[cfg(any(test, fuzzing))]
#[allow(unreachable_pub, reason = "public in builds of the fuzzer only")]
pub fn read_bytes(bytes: &[u8]) -> Result<Snapshot, String> {
    let refused = |refused: Refused| refused.to_string();
    let image = Image::of(bytes);
    let first = bytes.first_chunk::<{ header::BYTES }>();
    let first = first.ok_or_else(|| refused(Refused::Damaged(FOREIGN)))?;
    let boot = first[header::BOOT..][..8].try_into();
    let boot = u64::from_ne_bytes(boot.unwrap_or_default());
    let head = WriterHeader::read(first, boot).map_err(refused)?;
    let null = File::open("/dev/null").map_err(|error| error.to_string())?;
    let mut file = WriterFile::new(null, 0, head);
    let read = file.read_families(&image);
    read.map_err(|failed| refused(failed.into()))?;
    Ok(file.snapshot)
}

/// Reads something until nothing has changed meanwhile.
fn retry<T>(
    image: &Image,
    budget: &WorkLimit,
    mut read: impl FnMut(&WriterMemory<'_>) -> Result<T, Failed>,
) -> Result<T, Failed> {
    for tries in 0..TRIES {
        let done = budget.refunded(|| {
            let memory = WriterMemory::begin(image, budget)?;
            let read = read(&memory);
            // What was read while it changed may look damaged.
            memory.check()?;
            read
        });
        match done {
            Err(Failed::Changed) => {}
            done => return done,
        }
        if tries > 20 {
            std::thread::sleep(std::time::Duration::from_micros(u64::from(tries)));
        } else {
            std::thread::yield_now();
        }
    }
    Err(Failed::Changed)
}

impl WriterHeader {
    /// Checks a header.
    fn read(bytes: &[u8; header::BYTES], boot: u64) -> Result<Self, Refused> {
        let u32_at =
            |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap_or_default());
        let u64_at =
            |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap_or_default());
        ensure(bytes[header::MAGIC..][..8] == MAGIC, FOREIGN)?;
        let is_ours =
            u32_at(header::BYTE_ORDER) == BYTE_ORDER && u32_at(header::ADDRESS_BYTES) == 8;
        // A machine with another byte order or word size writes other numbers there.
        ensure(is_ours, "another kind of machine wrote it")?;
        let version = u32_at(header::VERSION);
        if version != format::VERSION {
            return Err(Refused::OtherVersion(version));
        }
        if u64_at(header::BOOT) != boot {
            return Err(Refused::OtherBoot);
        }
        let id = bytes[header::ID..header::ID + 16].try_into();
        Ok(Self {
            id: WriterId(id.unwrap_or_default()),
            pid: u32_at(header::PID),
            index: u32_at(header::GAUGE_INDEX),
            created: u64_at(header::CREATED),
        })
    }
}
