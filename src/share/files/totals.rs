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
//!           length (u32) and bytes of its description
//!           number of series; for each of them:
//!               length (u32) and bytes of its label text
//!               length (u32) and bytes of its record
//!               number of terms of its sum (u8), and the terms, 8 bytes each
//! ```
//!
//! Numbers without a type are u64. All are little-endian. [`record`] has the
//! form of descriptions and records. The sum of the terms is the exact sum of floats, of which the
//! record has only the rounded value; see [`sums`](crate::share::sums).

use std::collections::BTreeSet;

use crate::share::record;
use crate::share::sums::Sums;
use crate::snapshot::ExactSum;
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
    /// The exact sums of the floats in `snapshot`.
    pub(super) sums: Sums,
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
        for family in &self.snapshot.families {
            sized(&mut out, |out| record::write_description(family, out));
            out.extend((family.len() as u64).to_le_bytes());
            let sums = self.sums.of(family.name());
            for i in 0..family.len() {
                let text = record::label_text(family, i);
                sized(&mut out, |out| out.extend(text.as_bytes()));
                sized(&mut out, |out| record::write_record(family, i, out));
                let terms = sums.get(i).into_iter().flat_map(ExactSum::terms);
                let at = out.len();
                out.push(0);
                for term in terms {
                    out[at] += 1;
                    out.extend(term.to_le_bytes());
                }
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
        for _ in 0..bytes.count(16)? {
            let id = bytes.take(16)?.try_into().unwrap_or_default();
            totals.folded.insert(WriterId::from_bytes(id));
        }
        for _ in 0..bytes.count(12)? {
            let description = bytes.sized()?;
            let mut family = record::read_description(description)?;
            let last = totals.snapshot.families.last();
            if last.is_some_and(|last| last.name() >= family.name()) {
                return Err(damaged("the families are not in order"));
            }
            let mut sums = Vec::new();
            for _ in 0..bytes.count(9)? {
                let text = std::str::from_utf8(bytes.sized()?);
                let text = text.map_err(|_| damaged("a label text is not UTF-8"))?;
                record::read_record(&mut family, text, bytes.sized()?)?;
                let mut sum = ExactSum::default();
                for _ in 0..bytes.take(1)?[0] {
                    sum.add(f64::from_bits(bytes.u64()?));
                }
                sums.push(sum);
            }
            totals.sums.set(family.name(), sums);
            totals.snapshot.families.push(family);
        }
        if bytes.0.is_empty() {
            Ok(totals)
        } else {
            Err(damaged("bytes are left over"))
        }
    }
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
        let version = bytes.u32()?;
        if version != VERSION {
            return Err(Refused::OtherVersion(version));
        }
        bytes.u32()?;
        let (boot, generation) = (bytes.u64()?, bytes.u64()?);
        if bytes.u64()? != len {
            return Err(damaged("the totals are damaged"));
        }
        Ok(Self {
            boot,
            generation,
            checksum: bytes.u64()?,
        })
    }
}

fn damaged(why: &'static str) -> Refused {
    Refused::Damaged(why.into())
}

/// Appends what `write` writes, after its length.
fn sized(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend([0; 4]);
    write(out);
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

/// Bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8], Refused> {
        let split = self.0.split_at_checked(n);
        let (taken, rest) = split.ok_or(damaged("the totals end early"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self) -> Result<u32, Refused> {
        let bytes = self.take(4)?.try_into();
        Ok(u32::from_le_bytes(bytes.unwrap_or_default()))
    }

    fn u64(&mut self) -> Result<u64, Refused> {
        let bytes = self.take(8)?.try_into();
        Ok(u64::from_le_bytes(bytes.unwrap_or_default()))
    }

    /// Reads the number of items that follow, each of at least `size` bytes.
    fn count(&mut self, size: usize) -> Result<u64, Refused> {
        let n = self.u64()?;
        if n > (self.0.len() / size) as u64 {
            return Err(damaged("the totals end early"));
        }
        Ok(n)
    }

    fn sized(&mut self) -> Result<&'a [u8], Refused> {
        let len = self.u32()?;
        self.take(len as usize)
    }
}
