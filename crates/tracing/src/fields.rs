//! Fields that become labels: the allow-list, and the values of a span.
//!
//! Memory per span is bounded: at most eight values of at most 128 bytes. A longer value is cut
//! off; a `Debug` implementation that writes more is stopped.
//!
//! A `Debug` implementation that panics leaves an empty value. The panic does not go on: it would
//! end the creation of the span, and the registry would hold that span, and its parent, open for
//! ever.

use std::fmt::{self, Write};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tallies::Error;
use tracing::Metadata;
use tracing::field::{Field, Visit};

/// The most fields that become labels.
pub(crate) const MOST_FIELDS: usize = 8;

/// The most bytes of a value.
const MOST_BYTES: usize = 128;

/// A field, and the label that shows it.
#[derive(Clone, Debug)]
pub(crate) struct FieldLabel {
    pub(crate) field: String,
    pub(crate) label: String,
}

impl FieldLabel {
    /// Names the label like the field. Characters that a label name cannot contain become `_`.
    pub(crate) fn new(field: &str) -> Self {
        let is_letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let label = field.chars().map(|c| if is_letter(c) { c } else { '_' });
        Self {
            field: field.to_owned(),
            label: label.collect(),
        }
    }
}

/// The fields that become labels, in the order of the labels.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldList(pub(crate) Vec<FieldLabel>);

impl FieldList {
    /// Checks what the families do not check.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let fields = &self.0;
        if fields.len() > MOST_FIELDS {
            return Err(Error::new(format!(
                "at most {MOST_FIELDS} fields of spans can be labels, got {}",
                fields.len()
            )));
        }
        for (i, FieldLabel { field, label }) in fields.iter().enumerate() {
            if ["span", "target"].contains(&label.as_str()) {
                return Err(Error::new(format!(
                    "the field `{field}` of spans needs a label other than `{label}`, which every \
                     span has; `field_as(\"{field}\", ..)` gives it one"
                )));
            }
            if fields[..i].iter().any(|other| other.field == *field) {
                return Err(Error::new(format!(
                    "the field `{field}` of spans is given twice; one label shows it"
                )));
            }
            if let Some(other) = fields[..i].iter().find(|other| other.label == *label) {
                return Err(Error::new(format!(
                    "the fields `{}` and `{field}` of spans would share the label `{label}`; \
                     `field_as(\"{field}\", ..)` gives one of them another",
                    other.field
                )));
            }
        }
        Ok(())
    }

    /// Returns whether spans with this metadata may have a value for any of the labels.
    pub(crate) fn any_in(&self, metadata: &Metadata<'_>) -> bool {
        let has = |label: &FieldLabel| metadata.fields().field(&label.field).is_some();
        self.0.iter().any(has)
    }

    /// Reads the values that `record` shows to the visitor.
    pub(crate) fn read(&self, record: impl FnOnce(&mut dyn Visit)) -> FieldValues {
        let mut reader = FieldReader {
            fields: self,
            values: FieldValues::default(),
        };
        record(&mut reader);
        reader.values
    }
}

/// The values of a span, in one allocation.
#[derive(Debug, Default)]
pub(crate) struct FieldValues {
    text: String,
    /// The part of the text that a label has; empty if it has no value.
    parts: [Range<u16>; MOST_FIELDS],
    /// One bit per label that has a value.
    set: u8,
}

impl FieldValues {
    /// Returns the value of a label; empty if it has none.
    pub(crate) fn get(&self, label: usize) -> &str {
        let part = self.parts.get(label);
        let part = part.map(|part| usize::from(part.start)..usize::from(part.end));
        part.and_then(|part| self.text.get(part)).unwrap_or("")
    }

    fn has(&self, label: usize) -> bool {
        self.set & (1 << label) != 0
    }

    /// Sets the value of a label to what `write` writes.
    fn write(&mut self, label: usize, write: impl FnOnce(&mut Cut<'_>) -> fmt::Result) {
        // Texts that were replaced stay in the way until there are many.
        if self.text.len() >= 2 * MOST_FIELDS * MOST_BYTES {
            self.compact();
        }
        let start = self.text.len();
        // A value that is too long or refuses to be written is cut off there.
        let mut cut = Cut {
            text: &mut self.text,
            end: start + MOST_BYTES,
        };
        if catch_unwind(AssertUnwindSafe(|| write(&mut cut))).is_err() {
            self.text.truncate(start);
        }
        let small = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
        if let Some(part) = self.parts.get_mut(label) {
            *part = small(start)..small(self.text.len());
            self.set |= 1 << label;
        }
    }

    /// Replaces values by those that `newer` has.
    pub(crate) fn update(&mut self, newer: &Self) {
        for label in (0..MOST_FIELDS).filter(|label| newer.has(*label)) {
            self.write(label, |cut| cut.write_str(newer.get(label)));
        }
    }

    fn compact(&mut self) {
        let mut compact = Self::default();
        compact.update(self);
        *self = compact;
    }
}

/// A writer that ends at a length.
struct Cut<'a> {
    text: &'a mut String,
    end: usize,
}

impl Write for Cut<'_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        let mut fits = s.len().min(self.end.saturating_sub(self.text.len()));
        while !s.is_char_boundary(fits) {
            fits -= 1;
        }
        self.text.push_str(&s[..fits]);
        // Stops a `Debug` implementation that has more to say.
        if fits < s.len() {
            Err(fmt::Error)
        } else {
            Ok(())
        }
    }
}

/// Reads the fields that become labels. No lock is held, because `Debug` implementations are code
/// of the program, which may create spans.
struct FieldReader<'a> {
    fields: &'a FieldList,
    values: FieldValues,
}

impl FieldReader<'_> {
    fn write(&mut self, field: &Field, write: impl FnOnce(&mut Cut<'_>) -> fmt::Result) {
        let mut fields = self.fields.0.iter();
        if let Some(label) = fields.position(|label| label.field == field.name()) {
            self.values.write(label, write);
        }
    }
}

impl Visit for FieldReader<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, |cut| cut.write_str(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.write(field, |cut| write!(cut, "{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(texts: &[&str]) -> FieldValues {
        let mut values = FieldValues::default();
        for (label, text) in texts.iter().enumerate() {
            values.write(label, |cut| cut.write_str(text));
        }
        values
    }

    #[test]
    fn a_long_value_is_cut_off_between_characters() {
        let long = "ä".repeat(100);
        let values = values(&[&format!("a{long}"), "b"]);
        assert_eq!(values.get(0), format!("a{}", "ä".repeat(63)));
        assert_eq!(values.get(1), "b");
        assert_eq!(values.get(7), "");
    }

    #[test]
    fn a_debug_implementation_that_does_not_end_is_stopped() {
        struct Endless;
        impl fmt::Debug for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("and so on ")?;
                }
            }
        }
        let mut values = FieldValues::default();
        values.write(0, |cut| write!(cut, "{Endless:?}"));
        assert_eq!(values.get(0).len(), MOST_BYTES);
    }

    #[test]
    fn replaced_values_take_no_memory_for_ever() {
        let mut values = values(&["first", "stays"]);
        for i in 0..10_000 {
            let newer = self::values(&[&format!("{i:0>120}")]);
            values.update(&newer);
            assert_eq!(values.get(0), format!("{i:0>120}"));
            assert_eq!(values.get(1), "stays");
        }
        assert!(values.text.len() <= 3 * MOST_FIELDS * MOST_BYTES);
    }

    #[test]
    fn an_empty_value_replaces_another() {
        let mut values = values(&["full"]);
        values.update(&self::values(&[""]));
        assert_eq!(values.get(0), "");
    }
}
