//! The buffer for label values that are formatted.

use std::fmt::{Display, Write};

/// A buffer for the text of a label value that does not contain its text.
#[derive(Default)]
#[allow(missing_debug_implementations, reason = "it holds nothing to see")]
pub struct Scratch {
    digits: itoa::Buffer,
    text: String,
}

impl Scratch {
    /// Writes an integer in decimal digits.
    ///
    /// ```
    /// assert_eq!(tallies::label::Scratch::default().integer(404_u16), "404");
    /// ```
    pub fn integer(&mut self, n: impl itoa::Integer) -> &str {
        self.digits.format(n)
    }

    /// Writes a value as its `Display` does. The first call allocates.
    ///
    /// ```
    /// assert_eq!(tallies::label::Scratch::default().display(0.5), "0.5");
    /// ```
    pub fn display(&mut self, value: impl Display) -> &str {
        self.text.clear();
        let _ = write!(self.text, "{value}");
        &self.text
    }
}
