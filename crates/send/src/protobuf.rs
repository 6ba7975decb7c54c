//! Protocol buffers, as far as OTLP and remote write need them: fields are appended, and the length
//! of a message is put before it when it ends.
//!
//! Source: Protocol Buffers, "Encoding".

/// Wire types: the low three bits of a tag.
const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;

/// A message that is not complete: where its content begins in the output.
#[must_use = "a message has to end"]
#[derive(Debug)]
pub(crate) struct Open(usize);

/// The most bytes of a varint.
const MOST_VARINT: usize = 10;

/// Begins a message as field `field`.
#[inline]
pub(crate) fn begin(out: &mut Vec<u8>, field: u32) -> Open {
    tag(out, field, BYTES);
    // Most messages are shorter than 128 bytes, and their length takes one byte.
    out.push(0);
    Open(out.len())
}

impl Open {
    /// Ends the message.
    #[inline]
    pub(crate) fn end(self, out: &mut Vec<u8>) {
        let len = out.len() - self.0;
        match u8::try_from(len) {
            Ok(len) if len < 0x80 => out[self.0 - 1] = len,
            _ => self.end_long(out, len),
        }
    }

    /// Ends a message whose length takes more than one byte, which moves the content.
    fn end_long(self, out: &mut Vec<u8>, len: usize) {
        let (bytes, n) = to_varint(len as u64);
        let more = n - 1;
        out.extend_from_slice(&bytes[..more]);
        out.copy_within(self.0..self.0 + len, self.0 + more);
        out[self.0 - 1..][..n].copy_from_slice(&bytes[..n]);
    }
}

/// Appends the tag of a field.
#[inline(always)]
fn tag(out: &mut Vec<u8>, field: u32, wire_type: u32) {
    varint(out, u64::from(field << 3 | wire_type));
}

/// Returns the bytes of a varint, and how many they are.
#[inline]
fn to_varint(mut n: u64) -> ([u8; MOST_VARINT], usize) {
    let (mut bytes, mut len) = ([0; MOST_VARINT], 1);
    while n >= 0x80 {
        bytes[len - 1] = n as u8 | 0x80;
        n >>= 7;
        len += 1;
    }
    bytes[len - 1] = n as u8;
    (bytes, len)
}

/// Appends an unsigned integer, without a tag.
#[inline(always)]
pub(crate) fn varint(out: &mut Vec<u8>, n: u64) {
    if n < 0x80 {
        out.push(n as u8);
        return;
    }
    let (bytes, len) = to_varint(n);
    out.extend_from_slice(&bytes[..len]);
}

/// Returns a signed integer as `sint32` and `sint64` have it, with small varints around zero.
pub(crate) fn zigzag(n: i64) -> u64 {
    (n << 1 ^ n >> 63) as u64
}

/// Appends a field of type `uint64`, `int64`, `bool` or of an enum.
#[inline]
pub(crate) fn integer(out: &mut Vec<u8>, field: u32, n: u64) {
    tag(out, field, VARINT);
    varint(out, n);
}

/// Appends a field of type `sint32` or `sint64`.
pub(crate) fn signed(out: &mut Vec<u8>, field: u32, n: i64) {
    integer(out, field, zigzag(n));
}

/// Appends a field of type `fixed64`.
#[inline]
pub(crate) fn fixed(out: &mut Vec<u8>, field: u32, n: u64) {
    tag(out, field, FIXED64);
    out.extend_from_slice(&n.to_le_bytes());
}

/// Appends a field of type `double`.
#[inline]
pub(crate) fn double(out: &mut Vec<u8>, field: u32, x: f64) {
    fixed(out, field, x.to_bits());
}

/// Appends a field of type `string` or `bytes`.
#[inline]
pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    tag(out, field, BYTES);
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
