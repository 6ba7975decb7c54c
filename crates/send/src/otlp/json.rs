//! The JSON encoding: that of protocol buffers, but with IDs in hexadecimal and enums as numbers.
//!
//! Sources: OTLP 1.x, section "JSON Protobuf Encoding"; Protocol Buffers, "ProtoJSON Format".

use super::writer::{Field, Writer};

/// Writes JSON.
#[derive(Debug)]
pub(super) struct Json<'a>(pub(super) &'a mut Vec<u8>);

impl Json<'_> {
    /// Separates a value from the one before. No value ends in an opening bracket.
    fn comma(&mut self) {
        if !matches!(self.0.last(), None | Some(b'{' | b'[')) {
            self.0.push(b',');
        }
    }

    fn key(&mut self, field: Field) {
        self.comma();
        self.0.push(b'"');
        self.put(field.name);
        self.put("\":");
    }

    fn put(&mut self, text: &str) {
        self.0.extend_from_slice(text.as_bytes());
    }

    fn decimal(&mut self, n: impl itoa::Integer) {
        self.put(itoa::Buffer::new().format(n));
    }

    fn object(&mut self, content: impl FnOnce(&mut Self)) {
        self.0.push(b'{');
        content(self);
        self.0.push(b'}');
    }

    fn array<T>(
        &mut self,
        field: Field,
        all: impl Iterator<Item = T>,
        value: impl Fn(&mut Self, T),
    ) {
        self.key(field);
        self.0.push(b'[');
        for one in all {
            self.comma();
            value(self, one);
        }
        self.0.push(b']');
    }

    /// Writes a 64-bit integer, which is a string because JavaScript would round a number.
    fn integer(&mut self, n: u64) {
        self.0.push(b'"');
        self.decimal(n);
        self.0.push(b'"');
    }

    fn number(&mut self, x: f64) {
        match x {
            x if x.is_finite() => self.put(zmij::Buffer::new().format_finite(x)),
            f64::INFINITY => self.put("\"Infinity\""),
            f64::NEG_INFINITY => self.put("\"-Infinity\""),
            _ => self.put("\"NaN\""),
        }
    }

    fn string(&mut self, text: &str) {
        self.0.push(b'"');
        let mut rest = text;
        let is_escaped = |byte: u8| matches!(byte, b'"' | b'\\' | 0..0x20);
        while let Some(end) = rest.bytes().position(is_escaped) {
            self.put(&rest[..end]);
            match rest.as_bytes()[end] {
                byte @ (b'"' | b'\\') => self.0.extend([b'\\', byte]),
                byte => {
                    self.put("\\u00");
                    self.hexadecimal(byte);
                }
            }
            rest = &rest[end + 1..];
        }
        self.put(rest);
        self.0.push(b'"');
    }

    fn hexadecimal(&mut self, byte: u8) {
        let digit = |n: u8| b"0123456789abcdef"[usize::from(n & 0xf)];
        self.0.extend([digit(byte >> 4), digit(byte)]);
    }
}

impl Writer for Json<'_> {
    fn request(&mut self, content: impl FnOnce(&mut Self)) {
        self.object(content);
    }

    fn message(&mut self, field: Field, content: impl FnOnce(&mut Self)) {
        self.key(field);
        self.object(content);
    }

    fn list(&mut self, field: Field, elements: impl FnOnce(&mut Self)) {
        self.key(field);
        self.0.push(b'[');
        elements(self);
        self.0.push(b']');
    }

    fn element(&mut self, _: Field, content: impl FnOnce(&mut Self)) {
        self.comma();
        self.object(content);
    }

    fn text(&mut self, field: Field, text: &str) {
        self.key(field);
        self.string(text);
    }

    fn flag(&mut self, field: Field, flag: bool) {
        self.key(field);
        self.put(if flag { "true" } else { "false" });
    }

    fn code(&mut self, field: Field, code: u64) {
        self.key(field);
        self.decimal(code);
    }

    fn signed(&mut self, field: Field, n: i32) {
        self.key(field);
        self.decimal(n);
    }

    fn fixed(&mut self, field: Field, n: u64) {
        self.key(field);
        self.integer(n);
    }

    fn double(&mut self, field: Field, x: f64) {
        self.key(field);
        self.number(x);
    }

    fn id(&mut self, field: Field, id: &[u8]) {
        self.key(field);
        self.0.push(b'"');
        id.iter().for_each(|byte| self.hexadecimal(*byte));
        self.0.push(b'"');
    }

    fn fixed_list(&mut self, field: Field, all: impl Iterator<Item = u64>) {
        self.array(field, all, Self::integer);
    }

    fn varint_list(&mut self, field: Field, all: impl Iterator<Item = u64>) {
        self.array(field, all, Self::integer);
    }

    fn double_list(&mut self, field: Field, all: impl Iterator<Item = f64>) {
        self.array(field, all, Self::number);
    }

    fn size(&self) -> usize {
        self.0.len()
    }
}
