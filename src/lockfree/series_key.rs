//! The key of a series: its number in its family, and the generation, which counts how often the
//! number was used.

/// A generation, stored in the upper half of a word whose lower half is free.
///
/// The number of a retired series is used again. Each use has its own generation, so a reference
/// from before the retirement can be told from a current one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Generation(u64);

const LOWER: u64 = u32::MAX as u64;

impl Generation {
    /// The generation of a fresh series, and the only one of a series that is never retired.
    pub const FIRST: Self = Self(0);

    /// The last generation. A number whose series has reached it is not used again.
    pub const LAST: Self = Self(!LOWER);

    /// Returns the generation in the upper half of `word`.
    #[inline(always)]
    #[must_use]
    pub const fn of(word: u64) -> Self {
        Self(word & !LOWER)
    }

    /// Returns whether this generation came later.
    #[must_use]
    pub const fn is_after(self, other: Self) -> bool {
        self.0 > other.0
    }

    /// Returns a word with the generation in the upper half and zeroes in the lower.
    #[inline(always)]
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }
}

/// The number of the overflow series, and of the only series of a family without labels.
pub const OVERFLOW: u32 = u32::MAX;

/// The number and the generation of a series, in one word.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SeriesKey(u64);

impl SeriesKey {
    /// The key of the overflow series, which is never retired.
    pub const OVERFLOW: Self = Self::new(Generation::FIRST, OVERFLOW);

    /// Packs a generation and a number.
    #[must_use]
    pub const fn new(generation: Generation, index: u32) -> Self {
        Self(generation.0 | index as u64)
    }

    /// Unpacks what [`word`](Self::word) returned.
    #[must_use]
    pub const fn of_word(word: u64) -> Self {
        Self(word)
    }

    /// Returns both in one word.
    #[must_use]
    pub const fn word(self) -> u64 {
        self.0
    }

    /// Returns the generation.
    #[inline(always)]
    #[must_use]
    pub const fn generation(self) -> Generation {
        Generation::of(self.0)
    }

    /// Returns the number of the series in its family.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> u32 {
        self.0 as u32
    }

    /// Returns whether this is the overflow series.
    #[inline(always)]
    #[must_use]
    pub const fn is_overflow(self) -> bool {
        self.index() == OVERFLOW
    }
}
