//! Texts from outside, for the terminal.

use tallies::snapshot::SeriesLabels;
use tallies_names::{Printable, is_printable};

/// Returns the labels as the text format writes them, with invisible characters escaped.
pub fn label_text(labels: SeriesLabels<'_>) -> String {
    let pair = |(name, value)| format!("{}={value:?}", Printable(name));
    let pairs: Vec<String> = labels.iter().map(pair).collect();
    pairs.join(",")
}

/// Escapes the strings of a JSON text as `Printable` escapes others.
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
