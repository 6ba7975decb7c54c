//! The totals of dead writers, as a file.
//!
//! ```text
//!   0   "tallysum"
//!   8   version (u32), 0 (u32)
//!  16   hash of the system's boot id
//!  24   generation: the number in the name of the file
//!  32   length of what follows the header
//!  40   checksum of what follows the header
//!  48   number of writers that the totals include although their files may still exist
//!       their ids, 16 bytes each
//!       number of families; for each of them:
//!           varint length, and its description
//!           number of series; for each of them:
//!               varint length, and its label text
//!               varint length, and its record
//! ```
//!
//! Numbers without a type are u64. All are little-endian. [`record`] has the form of descriptions
//! and records.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::share::bytes::{Bytes, ensure};
use crate::share::record;
use crate::snapshot::Snapshot;
use crate::snapshot::description::write_sized;

use super::format::checksum;
use super::read::{Refused, WriterId};

const MAGIC: &[u8; 8] = b"tallysum";
const VERSION: u32 = 2;
/// The bytes of the header.
const HEADER: usize = 48;
/// The largest file that is read, in bytes.
const LONGEST: u64 = 4 << 30;

/// The totals of dead writers.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// The system's boot id, as a hash.
    pub(super) boot: u64,
    /// The generation: 0 if there are none.
    pub(super) generation: u64,
    /// The writers that the totals include although their files may still exist.
    pub(super) folded: BTreeSet<WriterId>,
    /// The families, without constant labels, and with the labels of each series sorted by name.
    pub(super) snapshot: Snapshot,
}

impl Totals {
    /// Returns the content of the file.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend([0; 4]);
        for word in [self.boot, self.generation, 0, 0] {
            out.extend(word.to_le_bytes());
        }
        out.extend((self.folded.len() as u64).to_le_bytes());
        self.folded.iter().for_each(|id| out.extend(id.0));
        out.extend((self.snapshot.families.len() as u64).to_le_bytes());
        let mut bytes = Vec::new();
        for family in &self.snapshot.families {
            bytes.clear();
            record::write_description(family, &mut bytes);
            write_sized(&bytes, &mut out);
            out.extend((family.len() as u64).to_le_bytes());
            for i in 0..family.len() {
                write_sized(family.label_text(i).as_bytes(), &mut out);
                bytes.clear();
                record::write_series(family, i, &mut bytes);
                write_sized(&bytes, &mut out);
            }
        }
        let len = (out.len() - HEADER) as u64;
        out[32..40].copy_from_slice(&len.to_le_bytes());
        let sum = checksum(&out[HEADER..]);
        out[40..48].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads a file.
    pub(super) fn read(file: &File) -> Result<Self, Refused> {
        let size = file.metadata()?.len();
        ensure(size <= LONGEST, "it is too large")?;
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0)?;
        let mut header = Bytes(&header);
        ensure(header.array()? == *MAGIC, "the totals have no magic number")?;
        let version = u32::from_le_bytes(header.array()?);
        if version != VERSION {
            return Err(Refused::OtherVersion(version));
        }
        header.array::<4>()?;
        let mut totals = Self {
            boot: header.word()?,
            generation: header.word()?,
            ..Self::default()
        };
        let (len, sum) = (header.word()?, header.word()?);
        let is_whole = len == size.saturating_sub(HEADER as u64);
        ensure(is_whole, "the totals are damaged")?;
        // Before the rest is read: a file of another program can be large, and one with holes as
        // large as it likes.
        let hole = rustix::fs::seek(file, rustix::fs::SeekFrom::Hole(0));
        ensure(hole.map_err(io::Error::from)? >= size, "it has holes")?;
        let mut rest = vec![0; len as usize];
        file.read_exact_at(&mut rest, HEADER as u64)?;
        ensure(checksum(&rest) == sum, "the totals are damaged")?;
        let mut bytes = Bytes(&rest);
        for _ in 0..count(&mut bytes, 16)? {
            totals.folded.insert(WriterId(bytes.array()?));
        }
        for _ in 0..count(&mut bytes, 9)? {
            let mut family = record::read_description(bytes.sized()?)?;
            let last = totals.snapshot.families.last();
            let is_after = last.is_none_or(|last| last.name() < family.name());
            ensure(is_after, "the families are not in order")?;
            for _ in 0..count(&mut bytes, 2)? {
                let text = bytes.text()?;
                record::read_series(&mut family, text, bytes.sized()?)?;
            }
            totals.snapshot.families.push(family);
        }
        bytes.end()?;
        Ok(totals)
    }
}

/// Reads the number of items that follow, each of at least `size` bytes.
fn count(bytes: &mut Bytes<'_>, size: usize) -> Result<usize, Refused> {
    let n = bytes.word()?;
    Ok(bytes.checked_count(n, size)?)
}
