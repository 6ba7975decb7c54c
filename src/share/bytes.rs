//! Bytes of a store, read from their beginning. Nothing is read past their end, and nothing is
//! allocated for items that they cannot have.

use std::fmt;
use std::time::Duration;

/// The reason why the bytes of a store were not read. See [`store`](crate::share::store).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub(in crate::share) &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

pub(super) type Read<T> = Result<T, Malformed>;

/// Returns an error that says `why` unless what was read is valid.
#[inline]
pub(super) fn ensure(is_valid: bool, why: &'static str) -> Read<()> {
    is_valid.then_some(()).ok_or(Malformed(why))
}

/// Bytes that are still to be read. Numbers are little-endian.
pub(super) struct Bytes<'a>(pub(in crate::share) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(super) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        let split = self.0.split_first_chunk();
        let (taken, rest) = split.ok_or(Malformed("the bytes end early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn byte(&mut self) -> Read<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn flag(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("a flag is neither 0 nor 1")),
        }
    }

    pub(super) fn word(&mut self) -> Read<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn float(&mut self) -> Read<f64> {
        Ok(f64::from_bits(self.word()?))
    }

    pub(super) fn varint(&mut self) -> Read<u64> {
        let mut n = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 127);
            if low << shift >> shift != low || byte == 0 && shift > 0 {
                break;
            }
            n |= low << shift;
            if byte < 128 {
                return Ok(n);
            }
        }
        // Longer than needed, or beyond 64 bits: one number has one form.
        Err(Malformed("a varint is invalid"))
    }

    /// Reads a varint of at most 32 bits.
    pub(super) fn short(&mut self) -> Read<u32> {
        u32::try_from(self.varint()?).map_err(|_| Malformed("a number is too large"))
    }

    /// Reads the number of items that follow, each of at least `size` bytes.
    pub(super) fn count(&mut self, size: usize) -> Read<usize> {
        let n = self.varint()?;
        self.checked_count(n, size)
    }

    /// Returns `n` if as many items of at least `size` bytes can follow.
    pub(super) fn checked_count(&self, n: u64, size: usize) -> Read<usize> {
        ensure(n <= (self.0.len() / size) as u64, "the bytes end early")?;
        Ok(n as usize)
    }

    pub(super) fn sized(&mut self) -> Read<&'a [u8]> {
        let n = self.count(1)?;
        let (sized, rest) = self.0.split_at(n);
        self.0 = rest;
        Ok(sized)
    }

    pub(super) fn text(&mut self) -> Read<&'a str> {
        let text = std::str::from_utf8(self.sized()?);
        text.map_err(|_| Malformed("a text is not UTF-8"))
    }

    pub(super) fn duration(&mut self) -> Read<Duration> {
        let (seconds, nanos) = (self.varint()?, self.short()?);
        ensure(nanos < 1_000_000_000, "a duration is invalid")?;
        Ok(Duration::new(seconds, nanos))
    }

    pub(super) fn end(&self) -> Read<()> {
        match self.0 {
            [] => Ok(()),
            _ => Err(Malformed("bytes are left over")),
        }
    }
}
