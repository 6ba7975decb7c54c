//! One interface to both encodings, so that the walk over the families exists once.

/// A field of a message: its number in protocol buffers and its name in JSON.
#[derive(Clone, Copy, Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) name: &'static str,
}

impl Field {
    pub(super) const fn new(number: u32, name: &'static str) -> Self {
        Self { number, name }
    }
}

/// An encoding of messages. A field is written where it is called, with its value, even if that is
/// the default.
pub(super) trait Writer {
    /// Writes the outermost message.
    fn request(&mut self, content: impl FnOnce(&mut Self));

    /// Writes a message as the value of a field that is not repeated.
    fn message(&mut self, field: Field, content: impl FnOnce(&mut Self));

    /// Writes a repeated field of messages: `elements` calls [`element`](Self::element) for each.
    fn list(&mut self, field: Field, elements: impl FnOnce(&mut Self));

    /// Writes a message of the repeated field `field`.
    fn element(&mut self, field: Field, content: impl FnOnce(&mut Self));

    /// Writes a string.
    fn text(&mut self, field: Field, text: &str);

    /// Writes a `bool`.
    fn flag(&mut self, field: Field, flag: bool);

    /// Writes a value of an enum.
    fn code(&mut self, field: Field, code: u64);

    /// Writes a `sint32`.
    fn signed(&mut self, field: Field, n: i32);

    /// Writes a `fixed64`, or an `sfixed64` that is not negative.
    fn fixed(&mut self, field: Field, n: u64);

    /// Writes a `double`.
    fn double(&mut self, field: Field, x: f64);

    /// Writes the ID of a trace or of a span.
    fn id(&mut self, field: Field, id: &[u8]);

    /// Writes a repeated `fixed64`.
    fn fixed_list(&mut self, field: Field, all: impl Iterator<Item = u64>);

    /// Writes a repeated `uint64`.
    fn varint_list(&mut self, field: Field, all: impl Iterator<Item = u64>);

    /// Writes a repeated `double`.
    fn double_list(&mut self, field: Field, all: impl Iterator<Item = f64>);

    /// Returns the number of bytes so far.
    fn size(&self) -> usize;
}
