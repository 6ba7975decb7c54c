//! Texts from outside, for the terminal.

use std::fmt::{self, Write};

/// A text in one line that a terminal shows and does not obey: control characters, separators of
/// lines, marks of direction and characters without width are written as `\n` or `\u{1b}`.
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        chars.try_for_each(|c| match is_printable(c) {
            true => f.write_char(c),
            false => write!(f, "{}", c.escape_debug()),
        })
    }
}

fn is_printable(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

/// Escapes the strings of a JSON text in the same way.
pub fn json(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if is_printable(c) || c == '\n' {
            escaped.push(c);
        } else {
            let units = c.encode_utf16(&mut [0; 2]).to_vec();
            escaped.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    escaped
}
