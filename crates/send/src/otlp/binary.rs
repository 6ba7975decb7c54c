//! The binary encoding: protocol buffers.

use crate::protobuf;

use super::writer::{Field, Writer};

/// Writes protocol buffers.
#[derive(Debug)]
pub(super) struct Binary<'a>(pub(super) &'a mut Vec<u8>);

impl Writer for Binary<'_> {
    fn request(&mut self, content: impl FnOnce(&mut Self)) {
        content(self);
    }

    fn message(&mut self, field: Field, content: impl FnOnce(&mut Self)) {
        let open = protobuf::begin(self.0, field.number);
        content(self);
        open.end(self.0);
    }

    fn list(&mut self, _: Field, elements: impl FnOnce(&mut Self)) {
        elements(self);
    }

    fn element(&mut self, field: Field, content: impl FnOnce(&mut Self)) {
        self.message(field, content);
    }

    fn text(&mut self, field: Field, text: &str) {
        protobuf::bytes(self.0, field.number, text.as_bytes());
    }

    fn flag(&mut self, field: Field, flag: bool) {
        protobuf::integer(self.0, field.number, u64::from(flag));
    }

    fn code(&mut self, field: Field, code: u64) {
        protobuf::integer(self.0, field.number, code);
    }

    fn signed(&mut self, field: Field, n: i32) {
        protobuf::signed(self.0, field.number, i64::from(n));
    }

    fn fixed(&mut self, field: Field, n: u64) {
        protobuf::fixed(self.0, field.number, n);
    }

    fn double(&mut self, field: Field, x: f64) {
        protobuf::double(self.0, field.number, x);
    }

    fn id(&mut self, field: Field, id: &[u8]) {
        protobuf::bytes(self.0, field.number, id);
    }

    fn fixed_list(&mut self, field: Field, all: impl Iterator<Item = u64>) {
        self.message(field, |w| {
            all.for_each(|n| w.0.extend_from_slice(&n.to_le_bytes()));
        });
    }

    fn varint_list(&mut self, field: Field, all: impl Iterator<Item = u64>) {
        self.message(field, |w| all.for_each(|n| protobuf::varint(w.0, n)));
    }

    fn double_list(&mut self, field: Field, all: impl Iterator<Item = f64>) {
        self.fixed_list(field, all.map(f64::to_bits));
    }

    fn size(&self) -> usize {
        self.0.len()
    }
}
