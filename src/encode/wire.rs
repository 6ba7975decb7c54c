//! The wire format of protobuf: fields, and messages that begin with their length.
//!
//! The length of a message is known only at its end. The writer reserves bytes for it according to
//! an estimate, and moves the message only if the estimate was wrong. Source: the encoding page of
//! the protobuf documentation.

/// An unfinished message.
#[derive(Clone, Copy, Default)]
pub(super) struct Message {
    /// The offset of its length in the buffer.
    pub(super) at: usize,
    /// The number of bytes reserved for the length.
    reserved: usize,
}

impl Message {
    /// Begins a message of about `len` bytes.
    #[inline(always)]
    pub(super) fn begin(out: &mut Vec<u8>, len: usize) -> Self {
        let at = out.len();
        if len < 0x80 {
            out.push(0);
            return Self { at, reserved: 1 };
        }
        let reserved = varint_len(len as u64);
        out.resize(at + reserved, 0);
        Self { at, reserved }
    }

    /// Begins a message of about `len` bytes as field `field`, which must be below 16.
    #[inline(always)]
    pub(super) fn field(out: &mut Vec<u8>, field: u32, len: usize) -> Self {
        if len < 0x80 {
            let at = out.len() + 1;
            out.extend_from_slice(&[tag(field, BYTES), 0]);
            return Self { at, reserved: 1 };
        }
        out.push(tag(field, BYTES));
        Self::begin(out, len)
    }

    /// Ends the message: writes its length into the reserved bytes.
    #[inline(always)]
    pub(super) fn end(self, out: &mut Vec<u8>) {
        let len = out.len() - self.at - self.reserved;
        if self.reserved == 1 && len < 0x80 {
            out[self.at] = len as u8;
        } else {
            self.end_long(out, len);
        }
    }

    /// Ends the part of the message that is in the buffer, `rest` bytes before its end.
    #[cold]
    pub(super) fn end_before(self, out: &mut Vec<u8>, rest: usize) {
        let len = out.len() - self.at - self.reserved;
        self.end_long(out, len + rest);
    }

    /// Ends a message whose length does not fit in one byte, or not in the reserved bytes.
    fn end_long(self, out: &mut Vec<u8>, len: usize) {
        let reserved = self.at..self.at + self.reserved;
        let len = Varint::new(len as u64);
        if len.as_slice().len() == self.reserved {
            out[reserved].copy_from_slice(len.as_slice());
        } else {
            out.splice(reserved, len.as_slice().iter().copied());
        }
    }
}

/// Wire types: the low three bits of a tag.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

/// Returns the tag of a field: its number and its wire type. Only the first fifteen fields have a
/// tag of one byte.
const fn tag(field: u32, holds: u32) -> u8 {
    (field << 3 | holds) as u8
}

/// Returns the tag of a field with text or a message.
pub(super) const fn tag_of_bytes(field: u32) -> u8 {
    tag(field, BYTES)
}

/// Returns the nine bytes of a field with a float.
#[inline(always)]
pub(super) fn double(field: u32, x: f64) -> [u8; 9] {
    let mut all = [tag(field, FIXED64); 9];
    all[1..].copy_from_slice(&x.to_le_bytes());
    all
}

#[inline(always)]
pub(super) fn push_double(out: &mut Vec<u8>, field: u32, x: f64) {
    out.extend_from_slice(&double(field, x));
}

#[inline(always)]
pub(super) fn push_integer(out: &mut Vec<u8>, field: u32, n: u64) {
    out.push(tag(field, VARINT));
    push_varint(out, n);
}

/// Appends a field of type `sint32` or `sint64`.
pub(super) fn push_signed(out: &mut Vec<u8>, field: u32, n: i64) {
    push_integer(out, field, (n << 1 ^ n >> 63) as u64);
}

#[inline(always)]
pub(super) fn push_bytes(out: &mut Vec<u8>, field: u32, text: &[u8]) {
    out.push(tag(field, BYTES));
    push_varint(out, text.len() as u64);
    out.extend_from_slice(text);
}

#[inline(always)]
fn push_varint(out: &mut Vec<u8>, n: u64) {
    if n < 0x80 {
        out.push(n as u8);
    } else {
        out.extend_from_slice(Varint::new(n).as_slice());
    }
}

/// An integer in groups of seven bits, one per byte, the lowest first.
struct Varint {
    bytes: [u8; 10],
    len: usize,
}

impl Varint {
    #[inline(always)]
    fn new(mut n: u64) -> Self {
        let mut bytes = [0; 10];
        let mut len = 0;
        while n >= 0x80 {
            bytes[len] = n as u8 | 0x80;
            n >>= 7;
            len += 1;
        }
        bytes[len] = n as u8;
        len += 1;
        Self { bytes, len }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Returns the length of `n` as a varint, in bytes.
fn varint_len(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

/// The last second that a [`Timestamp`] can hold: 35 bits, or five bytes, which last until the year
/// 3058.
const SECONDS: u64 = (1 << 35) - 1;

/// A `google.protobuf.Timestamp` as a field, in an array of a fixed size that is copied without a
/// call.
#[derive(Clone, Copy, Default)]
pub(super) struct Timestamp {
    /// The time in milliseconds since the Unix epoch; 0 if there is none.
    millis: u64,
    pub(super) bytes: [u8; 16],
    pub(super) len: usize,
}

impl Timestamp {
    /// Changes to the time `millis` in field `field`, or to no field if there is no time.
    #[inline(always)]
    pub(super) fn set(&mut self, field: u32, millis: Option<u64>) {
        if self.millis != millis.unwrap_or_default() || self.bytes[0] != tag_of_bytes(field) {
            *self = millis.map_or_else(Self::default, |millis| Self::new(field, millis));
        }
    }

    /// Returns the time `millis` as field `field`, or no field if the time is after the last
    /// second.
    pub(super) fn new(field: u32, millis: u64) -> Self {
        let mut timestamp = Self {
            millis,
            ..Self::default()
        };
        if millis / 1000 > SECONDS {
            return timestamp;
        }
        timestamp.len = 2;
        let nanos = millis % 1000 * 1_000_000;
        timestamp.put(1, millis / 1000);
        if nanos > 0 {
            timestamp.put(2, nanos);
        }
        timestamp.bytes[0] = tag_of_bytes(field);
        timestamp.bytes[1] = timestamp.len as u8 - 2;
        timestamp
    }

    /// Appends a field with a value of at most [`SECONDS`].
    fn put(&mut self, field: u32, n: u64) {
        // Spread the bits: seven per byte.
        let spread = n & 0x7F
            | (n & 0x3F80) << 1
            | (n & 0x1F_C000) << 2
            | (n & 0x0FE0_0000) << 3
            | (n & 0x7_F000_0000) << 4;
        let len = varint_len(n);
        let more = 0x8080_8080 & ((1_u64 << (8 * (len - 1))) - 1);
        let at = self.len;
        self.bytes[at] = tag(field, VARINT);
        self.bytes[at + 1..at + 6].copy_from_slice(&(spread | more).to_le_bytes()[..5]);
        self.len = at + 1 + len;
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A time that does not fit is left out, not truncated to another time.
    #[test]
    fn the_last_time_of_all() {
        let last = Timestamp::new(3, SECONDS * 1000 + 999);
        let seconds = [0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F];
        let nanos = [0x10, 0xC0, 0x8F, 0xAE, 0xDC, 0x03];
        assert_eq!(
            last.as_slice(),
            [&[0x1A, 12][..], &seconds, &nanos].concat()
        );
        for late in [(SECONDS + 1) * 1000, u64::MAX] {
            assert!(Timestamp::new(3, late).as_slice().is_empty());
        }
    }
}
