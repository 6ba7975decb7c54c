//! Files as a writer makes them, built word by word from the description of the format.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::super::format::{
    BYTE_ORDER, CellKind, EXTENT, FNV_START, MAGIC, VERSION, checksum, checksum_from, chunk,
    description, family, header, journal, label, series, shard, slab,
};

/// The address at which the file is mapped in its writer.
pub(super) const BASE: u64 = 0x7000_0000_0000;

/// The slot word of a series, the words behind its lock, and its label text with its generation.
pub(super) type Series<'a> = (u64, [u64; 3], Option<(u64, &'a str)>);

/// A file under construction.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) bytes: Vec<u8>,
    next: usize,
    pub(super) id: [u8; 16],
}

/// The description of a family.
#[derive(Clone, Copy)]
pub(super) struct Describe<'a> {
    pub(super) name: &'a str,
    /// The kind of the family, and that of its cells.
    pub(super) kinds: (u8, CellKind),
    pub(super) width: u32,
    pub(super) is_labelled: bool,
    pub(super) mode: u8,
    pub(super) bounds: &'a [f64],
    pub(super) targets: &'a [(f64, f64)],
    pub(super) native: Option<i8>,
}

impl<'a> Describe<'a> {
    pub(super) const fn counter(name: &'a str) -> Self {
        Self {
            name,
            kinds: (0, CellKind::Counter),
            width: 1,
            is_labelled: false,
            mode: 0,
            bounds: &[],
            targets: &[],
            native: None,
        }
    }

    pub(super) const fn labelled(mut self) -> Self {
        self.is_labelled = true;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        // All lengths are below 128, so they have one byte.
        let sized = |out: &mut Vec<u8>, bytes: &[u8]| {
            assert!(bytes.len() < 128);
            out.push(bytes.len() as u8);
            out.extend(bytes);
        };
        let is_native = self.kinds.0 == 2 && self.native.is_some();
        let native = if is_native { 2 } else { 0 };
        let mut family = vec![2, self.kinds.0, self.mode, native];
        for part in [self.name, "Help.", ""] {
            sized(&mut family, part.as_bytes());
        }
        if self.kinds.0 == 2 {
            family.push(self.bounds.len() as u8);
            let bounds = self.bounds.iter();
            family.extend(bounds.flat_map(|bound| bound.to_le_bytes()));
        }
        if self.kinds.0 == 3 {
            family.push(self.targets.len() as u8);
            for (phi, error) in self.targets {
                family.extend([phi, error].iter().flat_map(|x| x.to_le_bytes()));
            }
        }
        let overflow = if self.is_labelled {
            r#"a="__overflow__""#
        } else {
            ""
        };
        let mut out = Vec::new();
        for part in [&*family, b"", overflow.as_bytes()] {
            sized(&mut out, part);
        }
        out.extend([u8::from(self.is_labelled), 0]);
        out.push(self.native.unwrap_or(0) as u8);
        // The varint of 160.
        out.extend([0xa0, 1]);
        out.extend(0_f64.to_le_bytes());
        let states: &[&str] = if self.kinds.1 == CellKind::StateSet {
            &["off", "on"]
        } else {
            &[]
        };
        out.push(states.len() as u8);
        states
            .iter()
            .for_each(|state| sized(&mut out, state.as_bytes()));
        out
    }
}

impl Image {
    /// A file of one extent, with this number in its id.
    pub(super) fn new(number: u8) -> Self {
        let mut image = Self {
            bytes: vec![0; EXTENT],
            next: header::BYTES,
            id: [number; 16],
        };
        image.bytes[..8].copy_from_slice(&MAGIC);
        image.set_u32(header::VERSION, VERSION);
        image.set_u32(header::BYTE_ORDER, BYTE_ORDER);
        image.set_u32(header::ADDRESS_BYTES, 8);
        image.set_u32(header::PID, 7);
        image.set_u32(header::GAUGE_INDEX, u32::from(number));
        image.bytes[header::ID..header::ID + 16].copy_from_slice(&[number; 16]);
        image.set_word(header::BOOT, super::super::directory::boot_hash().unwrap());
        image.set_word(header::CREATED, 1_000_000 + u64::from(number));
        image.set_word(header::BASE, BASE);
        image.set_word(header::EXTENTS, 1);
        image
    }

    pub(super) fn set_word(&mut self, at: usize, word: u64) {
        self.bytes[at..at + 8].copy_from_slice(&word.to_ne_bytes());
    }

    pub(super) fn set_u32(&mut self, at: usize, half: u32) {
        self.bytes[at..at + 4].copy_from_slice(&half.to_ne_bytes());
    }

    pub(super) fn word(&self, at: usize) -> u64 {
        u64::from_ne_bytes(self.bytes[at..at + 8].try_into().unwrap())
    }

    /// Stores a word at an address.
    pub(super) fn store(&mut self, address: u64, word: u64) {
        self.set_word((address - BASE) as usize, word);
    }

    /// Allocates these words, and returns the address of the first.
    pub(super) fn words(&mut self, words: &[u64]) -> u64 {
        let at = self.next;
        for (i, word) in words.iter().enumerate() {
            self.set_word(at + 8 * i, *word);
        }
        self.next += 8 * words.len();
        BASE + at as u64
    }

    fn blob(&mut self, bytes: &[u8]) -> u64 {
        let at = self.words(&vec![0; bytes.len().div_ceil(8)]);
        let from = (at - BASE) as usize;
        self.bytes[from..from + bytes.len()].copy_from_slice(bytes);
        at
    }

    /// Adds a family, whose first series has these words behind slot word and lock. Returns the
    /// addresses of its record and of its first series.
    pub(super) fn family(&mut self, describe: Describe<'_>, first: [u64; 3]) -> (u64, u64) {
        let bytes = describe.bytes();
        let text = self.words(&[bytes.len() as u64, checksum(&bytes)]);
        assert_eq!(self.blob(&bytes), text + description::CONTENT as u64);
        let first = self.words(&[u64::from(u32::MAX), 0, first[0], first[1], first[2]]);
        let record = self.words(&[0; family::BYTES / 8]);
        let at = (record - BASE) as usize;
        self.set_word(at + family::NEXT, self.word(header::FAMILIES));
        self.set_word(at + family::STATE, 1);
        self.set_word(at + family::DESCRIPTION, text);
        self.set_u32(at + family::KIND, describe.kinds.1 as u32);
        self.set_u32(at + family::WIDTH, describe.width);
        self.set_u32(at + family::STRIDE, 40);
        self.set_word(at + family::FIRST, first);
        self.set_word(at + family::CREATED, 5000);
        self.set_word(header::FAMILIES, record);
        (record, first)
    }

    /// Adds a chunk of series: for each the slot word, the words behind the lock, and the label
    /// text with its generation.
    pub(super) fn chunk(&mut self, record: u64, number: u32, all: &[Series<'_>]) {
        let mut texts = Vec::new();
        for (_, _, text) in all {
            texts.push(text.map_or(0, |(generation, text)| self.text(generation, text)));
        }
        let texts = self.words(&texts);
        let words = all
            .iter()
            .flat_map(|(slot, [a, b, c], _)| [*slot, 0, *a, *b, *c]);
        let series = self.words(&words.collect::<Vec<_>>());
        let at = (record - BASE) as usize + family::CHUNKS;
        let address = self.words(&[self.word(at), series, texts, 0, 0]);
        let chunk = (address - BASE) as usize;
        self.set_u32(chunk + chunk::FIRST, number);
        self.set_u32(chunk + chunk::LEN, all.len() as u32);
        self.set_word(at, address);
    }

    pub(super) fn text(&mut self, generation: u64, text: &str) -> u64 {
        let (created, stamp) = (6000, generation << 32 | text.len() as u64);
        let sum = checksum_from(FNV_START, &u64::to_ne_bytes(created));
        let sum = checksum_from(sum, &stamp.to_ne_bytes());
        let sum = checksum_from(sum, text.as_bytes());
        let address = self.words(&[created, stamp, sum]);
        assert_eq!(self.blob(text.as_bytes()), address + label::TEXT as u64);
        address
    }

    /// Adds a shard with these cells. Returns the address of the first cell.
    pub(super) fn shard(&mut self, cells: &[u64]) -> u64 {
        let mut words = vec![0; slab::CELLS / 8];
        words[slab::CAPACITY / 8] = cells.len() as u64;
        words.extend(cells);
        let slab = self.words(&words);
        let record = self.words(&[self.word(header::SHARDS), slab]);
        assert_eq!(shard::SLAB, 8);
        self.set_word(header::SHARDS, record);
        slab + slab::CELLS as u64
    }

    /// Sets the journal: its number, and its entries of address, number of words, value.
    pub(super) fn journal(&mut self, sequence: u64, entries: &[[u64; 3]]) {
        self.set_word(header::JOURNAL + journal::SEQUENCE, sequence);
        self.set_word(header::JOURNAL + journal::LEN, entries.len() as u64);
        for (i, entry) in entries.iter().enumerate() {
            for (j, word) in entry.iter().enumerate() {
                let at = header::JOURNAL + journal::ENTRIES + 24 * i + 8 * j;
                self.set_word(at, *word);
            }
        }
    }

    /// Returns the name of the file.
    pub(super) fn name(&self) -> String {
        let id: String = self.id.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("test.{id}.pm")
    }

    /// Writes the file into a directory. Its writer is dead, unless the caller takes the lock.
    pub(super) fn write(&self, directory: &Path) -> File {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(directory.join(self.name()))
            .unwrap();
        file.write_all_at(&self.bytes, 0).unwrap();
        file
    }
}

/// A slot word of this generation, with this slot.
pub(super) fn hot(generation: u64, slot: u64) -> u64 {
    generation << 32 | slot
}

/// A slot word of this generation, without a slot.
pub(super) fn cold(generation: u64) -> u64 {
    generation << 32 | u64::from(u32::MAX)
}

/// A slot word of a retired series, with this slot.
pub(super) fn retired(generation: u64, slot: u64) -> u64 {
    generation << 32 | series::RETIRED | slot
}
