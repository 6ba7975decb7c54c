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

use crate::share::bytes::{Bytes, utf8, write_sized};
use crate::share::record;
use crate::snapshot::Snapshot;

use super::format::checksum;
use super::read::{Refused, WriterId};

const MAGIC: &[u8; 8] = b"tallysum";
const VERSION: u32 = 1;
/// The bytes of the header.
pub(super) const HEADER: usize = 48;

/// The totals of dead writers.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// The system's boot id, as a hash.
    pub(super) boot: u64,
    /// The generation: 0 if there are none.
    pub(super) generation: u64,
    /// The writers that the totals include although their files may still exist.
    pub(super) folded: BTreeSet<WriterId>,
    /// The families, without constant labels.
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
        self.folded.iter().for_each(|id| out.extend(id.to_bytes()));
        out.extend((self.snapshot.families.len() as u64).to_le_bytes());
        let mut bytes = Vec::new();
        for family in &self.snapshot.families {
            bytes.clear();
            record::write_description(family, &mut bytes);
            write_sized(&bytes, &mut out);
            out.extend((family.len() as u64).to_le_bytes());
            for i in 0..family.len() {
                write_sized(record::label_text(family, i).as_bytes(), &mut out);
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

    /// Reads the content of a file.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Refused> {
        let split = bytes.split_first_chunk();
        let (header, rest) = split.ok_or(damaged("the totals end early"))?;
        let header = Header::read(header, rest.len() as u64)?;
        if checksum(rest) != header.checksum {
            return Err(damaged("the totals are damaged"));
        }
        let mut bytes = Bytes(rest);
        let mut totals = Self {
            boot: header.boot,
            generation: header.generation,
            ..Self::default()
        };
        for _ in 0..count(&mut bytes, 16)? {
            totals.folded.insert(WriterId::from_bytes(bytes.array()?));
        }
        for _ in 0..count(&mut bytes, 9)? {
            let mut family = record::read_description(bytes.sized()?)?;
            let last = totals.snapshot.families.last();
            if last.is_some_and(|last| last.name() >= family.name()) {
                return Err(damaged("the families are not in order"));
            }
            for _ in 0..count(&mut bytes, 2)? {
                let text = utf8(bytes.sized()?)?;
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

/// The content of the header.
pub(super) struct Header {
    boot: u64,
    generation: u64,
    checksum: u64,
}

impl Header {
    /// Reads a header, which `len` bytes follow.
    pub(super) fn read(bytes: &[u8; HEADER], len: u64) -> Result<Self, Refused> {
        let mut bytes = Bytes(bytes);
        if bytes.take(8)? != MAGIC {
            return Err(damaged("the totals have no magic number"));
        }
        let version = u32::from_le_bytes(bytes.array()?);
        if version != VERSION {
            return Err(Refused::OtherVersion(version));
        }
        bytes.take(4)?;
        let (boot, generation) = (bytes.word()?, bytes.word()?);
        if bytes.word()? != len {
            return Err(damaged("the totals are damaged"));
        }
        Ok(Self {
            boot,
            generation,
            checksum: bytes.word()?,
        })
    }
}

fn damaged(why: &'static str) -> Refused {
    Refused::Damaged(why.into())
}
