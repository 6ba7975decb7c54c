//! The file format, as constants: `docs/mapped-files.md` describes it byte by byte.
//!
//! Offsets are in bytes.

/// The bytes that a file begins with.
pub(crate) const MAGIC: [u8; 8] = *b"TALLIES\0";
/// The version of the format.
pub(crate) const VERSION: u32 = 3;
/// Tells files of the other byte order.
pub(crate) const BYTE_ORDER: u32 = 0x0102_0304;
/// The bytes of an extent.
pub(crate) const EXTENT: usize = 256 << 10;
/// The most extents of a file.
pub(crate) const MOST_EXTENTS: usize = 1 << 16;

/// The header of a file.
pub(crate) mod header {
    pub(crate) const MAGIC: usize = 0;
    pub(crate) const VERSION: usize = 8;
    pub(crate) const BYTE_ORDER: usize = 12;
    pub(crate) const ADDRESS_BYTES: usize = 16;
    pub(crate) const BOOT: usize = 24;
    pub(crate) const PID: usize = 32;
    pub(crate) const GAUGE_INDEX: usize = 36;
    pub(crate) const CREATED: usize = 40;
    pub(crate) const PROCESS_START: usize = 48;
    pub(crate) const CRATE: usize = 56;
    pub(crate) const ID: usize = 64;
    pub(crate) const BASE: usize = 80;
    pub(crate) const EXTENTS: usize = 88;
    pub(crate) const HEARTBEAT: usize = 96;
    pub(crate) const FAMILIES: usize = 104;
    pub(crate) const SHARDS: usize = 112;
    pub(crate) const UNPUBLISHED: usize = 120;
    pub(crate) const REPLACED: usize = 128;
    pub(crate) const JOURNAL: usize = 256;
    /// The bytes of the header.
    pub(crate) const BYTES: usize = 4096;
}

/// The journal, from [`header::JOURNAL`] on.
pub(crate) mod journal {
    pub(crate) const SEQUENCE: usize = 0;
    pub(crate) const LEN: usize = 8;
    /// Each entry has three words: address, number of words, value.
    pub(crate) const ENTRIES: usize = 16;
    pub(crate) const MOST_ENTRIES: usize = 40;
}

/// A record of a family.
pub(crate) mod family {
    pub(crate) const NEXT: usize = 0;
    pub(crate) const STATE: usize = 8;
    pub(crate) const DESCRIPTION: usize = 16;
    pub(crate) const KIND: usize = 24;
    pub(crate) const WIDTH: usize = 28;
    pub(crate) const STRIDE: usize = 32;
    pub(crate) const FIRST: usize = 40;
    pub(crate) const CREATED: usize = 48;
    pub(crate) const CHUNKS: usize = 56;
    pub(crate) const BASELINE: usize = 64;
    pub(crate) const EXEMPLARS: usize = 72;
    pub(crate) const WINDOW_ORIGIN: usize = 80;
    pub(crate) const WINDOW_LENGTH: usize = 88;
    pub(crate) const WINDOW_AGES: usize = 96;
    pub(crate) const BYTES: usize = 128;
}

/// A description: length, checksum, bytes.
pub(crate) mod description {
    pub(crate) const LEN: usize = 0;
    pub(crate) const CHECKSUM: usize = 8;
    pub(crate) const CONTENT: usize = 16;
}

/// A chunk of series.
pub(crate) mod chunk {
    pub(crate) const NEXT: usize = 0;
    pub(crate) const SERIES: usize = 8;
    pub(crate) const LABELS: usize = 16;
    pub(crate) const FIRST: usize = 24;
    pub(crate) const LEN: usize = 28;
    pub(crate) const FLAGS: usize = 32;
    pub(crate) const BYTES: usize = 40;
    /// The chunk has the combinations of a closed label set.
    pub(crate) const CLOSED: u64 = 1;
}

/// A label text.
pub(crate) mod label {
    pub(crate) const CREATED: usize = 0;
    /// Generation in the upper half, length in the lower.
    pub(crate) const STAMP: usize = 8;
    /// Of the two words before, and the text.
    pub(crate) const CHECKSUM: usize = 16;
    pub(crate) const TEXT: usize = 24;
}

/// A series. What follows the slot word and the lock depends on the kind.
pub(crate) mod series {
    /// The cold cell of a counter; increments; the value of a gauge; a histogram's block.
    pub(crate) const COLD: usize = 16;
    pub(crate) const DECREMENTS: usize = 24;
    /// When a gauge was set, in nanoseconds since 1970, or [`UNTIMED`].
    pub(crate) const SET_AT: usize = 24;
    /// The value of a gauge that nobody set: a NaN that no arithmetic makes.
    pub(crate) const UNSET: u64 = 0x7ff8_7461_6c6c_7973;
    /// The time of a gauge whose mode does not ask for it.
    pub(crate) const UNTIMED: u64 = u64::MAX;
    /// The cold stream of a summary.
    pub(crate) const STREAM: usize = 24;
    /// The folded observations of a summary.
    pub(crate) const FOLDED: usize = 32;
    /// The bits of a slot in a slot word; all ones for none.
    pub(crate) const SLOT: u64 = (1 << 30) - 1;
    /// The bits of a slot word that tell what a series without a label text of its generation is.
    pub(crate) const STATE: u64 = 3 << 30;
    /// The state of a retired series, which counts in the overflow series.
    pub(crate) const RETIRED: u64 = 1 << 30;
}

/// The kinds of cells, by their numbers in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum CellKind {
    Counter = 1,
    FloatCounter = 2,
    UpDown = 3,
    Gauge = 4,
    Histogram = 5,
    Native = 6,
    Summary = 7,
    StateSet = 8,
    Event = 9,
}

impl CellKind {
    const ALL: [Self; 9] = [
        Self::Counter,
        Self::FloatCounter,
        Self::UpDown,
        Self::Gauge,
        Self::Histogram,
        Self::Native,
        Self::Summary,
        Self::StateSet,
        Self::Event,
    ];

    /// Returns the kind with this number.
    pub(crate) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == number)
    }

    /// Returns the least number of bytes of a series: the size of the struct with its cells.
    pub(crate) const fn series_bytes(self) -> usize {
        match self {
            Self::Counter | Self::FloatCounter => 24,
            Self::UpDown | Self::Gauge | Self::StateSet => 32,
            Self::Histogram | Self::Native | Self::Summary | Self::Event => 40,
        }
    }
}

/// A shard record.
pub(crate) mod shard {
    pub(crate) const NEXT: usize = 0;
    pub(crate) const SLAB: usize = 8;
    pub(crate) const BYTES: usize = 16;
}

/// A slab.
pub(crate) mod slab {
    pub(crate) const CAPACITY: usize = 8;
    pub(crate) const CELLS: usize = 128;
}

/// The table of a native histogram.
pub(crate) mod table {
    pub(crate) const MASK: usize = 0;
    pub(crate) const WORDS: usize = 8;
    pub(crate) const ZERO_THRESHOLD: usize = 16;
    /// 44 + (8 - schema).
    pub(crate) const SHIFT: usize = 24;
}

/// The stream of a summary.
pub(crate) mod stream {
    pub(crate) const SEQUENCE: usize = 0;
    pub(crate) const PAGES: usize = 8;
}

/// A page of a stream.
pub(crate) mod page {
    pub(crate) const CAPACITY: usize = 0;
    pub(crate) const LIMIT: usize = 8;
    pub(crate) const HISTORY: usize = 16;
    pub(crate) const WORDS: usize = 24;
    pub(crate) const WORD_COUNT: usize = 32;
}

/// The ages of a page.
pub(crate) mod history {
    pub(crate) const STARTED: usize = 0;
    pub(crate) const SKETCH_AGE: usize = 8;
    pub(crate) const WORDS: usize = 16;
    pub(crate) const WORD_COUNT: usize = 24;
}

/// A block of exemplars, of one series.
pub(crate) mod exemplars {
    pub(crate) const NEXT: usize = 0;
    pub(crate) const SERIES: usize = 8;
    pub(crate) const BUCKETS: usize = 12;
    pub(crate) const IS_CLOSED: usize = 16;
    pub(crate) const FIRST: usize = 32;
    pub(crate) const BYTES: usize = 256;

    pub(crate) const SEQUENCE: usize = 0;
    pub(crate) const STAMP: usize = 8;
    pub(crate) const VALUE: usize = 16;
    pub(crate) const TIME: usize = 24;
    pub(crate) const TEXT: usize = 32;
    pub(crate) const LONGEST_TEXT: usize = 224;
}

/// Returns the checksum of the format: FNV-1a with 64 bits.
pub(crate) const fn checksum(bytes: &[u8]) -> u64 {
    checksum_from(FNV_START, bytes)
}

/// Where [`checksum_from`] starts.
pub(crate) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// Continues a checksum.
pub(crate) const fn checksum_from(mut sum: u64, bytes: &[u8]) -> u64 {
    let mut i = 0;
    while i < bytes.len() {
        sum = (sum ^ bytes[i] as u64).wrapping_mul(0x0100_0000_01b3);
        i += 1;
    }
    sum
}
