//! The buffer for label values that are formatted.

use std::fmt::{Display, Write};

/// A buffer for the text of a label value that does not contain its text.
#[derive(Default)]
#[allow(missing_debug_implementations, reason = "it holds nothing to see")]
pub struct Scratch {
    text: String,
}

impl Scratch {
    pub fn integer(&mut self, n: impl Display) -> &str {
        self.display(n)
    }

    pub fn display(&mut self, value: impl Display) -> &str {
        self.text.clear();
        let _ = write!(self.text, "{value}");
        &self.text
    }
}
