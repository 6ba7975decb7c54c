//! Texts from outside, for logs and terminals.

use std::fmt::{self, Write};

/// A text in one line that a terminal shows and does not obey. Control characters, separators of
/// lines, marks of direction and characters without width are written as `\n` or `\u{1b}`.
pub(crate) struct Printable<'a>(&'a str);

/// Makes a text printable. Quotes and backslashes stay, so a text that is printable does not
/// change.
pub(crate) fn printable(text: &str) -> Printable<'_> {
    Printable(text)
}

/// Returns whether a terminal shows a character as itself.
pub(crate) fn is_printable(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\') || c.escape_debug().len() == 1
}

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        chars.try_for_each(|c| match is_printable(c) {
            true => f.write_char(c),
            false => write!(f, "{}", c.escape_debug()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_shows_it_and_does_not_obey() {
        for (text, shown) in [
            ("name `a\"b\\c'`", "name `a\"b\\c'`"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("\u{9b}2J\u{7f}", "\\u{9b}2J\\u{7f}"),
            ("one\r\ntwo\tthree", "one\\r\\ntwo\\tthree"),
            ("\u{202e}right\u{2028}", "\\u{202e}right\\u{2028}"),
            ("größe 東京 ✓", "größe 東京 ✓"),
        ] {
            let once = printable(text).to_string();
            assert_eq!(once, shown);
            assert_eq!(printable(&once).to_string(), shown);
        }
    }
}
