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

/// Begins a message as field `field`.
pub(crate) fn begin(out: &mut Vec<u8>, field: u32) -> Open {
    varint(out, u64::from(field << 3 | BYTES));
    // Most messages are shorter than 128 bytes, and their length takes one byte.
    out.push(0);
    Open(out.len())
}

impl Open {
    /// Ends the message.
    pub(crate) fn end(self, out: &mut Vec<u8>) {
        let len = out.len() - self.0;
        if len < 0x80 {
            out[self.0 - 1] = len as u8;
            return;
        }
        let mut bytes = Vec::with_capacity(5);
        varint(&mut bytes, len as u64);
        out.splice(self.0 - 1..self.0, bytes);
    }
}

/// Appends an unsigned integer, without a tag.
pub(crate) fn varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Returns a signed integer as `sint32` and `sint64` have it, with small varints around zero.
pub(crate) fn zigzag(n: i64) -> u64 {
    (n << 1 ^ n >> 63) as u64
}

/// Appends a field of type `uint64`, `int64`, `bool` or of an enum.
pub(crate) fn integer(out: &mut Vec<u8>, field: u32, n: u64) {
    varint(out, u64::from(field << 3 | VARINT));
    varint(out, n);
}

/// Appends a field of type `sint32` or `sint64`.
pub(crate) fn signed(out: &mut Vec<u8>, field: u32, n: i64) {
    integer(out, field, zigzag(n));
}

/// Appends a field of type `fixed64`.
pub(crate) fn fixed(out: &mut Vec<u8>, field: u32, n: u64) {
    varint(out, u64::from(field << 3 | FIXED64));
    out.extend_from_slice(&n.to_le_bytes());
}

/// Appends a field of type `double`.
pub(crate) fn double(out: &mut Vec<u8>, field: u32, x: f64) {
    fixed(out, field, x.to_bits());
}

/// Appends a field of type `string` or `bytes`.
pub(crate) fn bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    varint(out, u64::from(field << 3 | BYTES));
    varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
