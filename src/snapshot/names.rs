//! The grammar of names, and the escaping of names for readers that accept only the legacy
//! character set.
//!
//! Source: the escaping schemes page of the Prometheus documentation. Where that page and
//! `prometheus/common` differ, this module follows `prometheus/common`, because servers and other
//! clients run it.

use std::fmt::Write;

use super::labels;

/// The escaping of names outside the legacy character set: letters, digits and `_`, and `:` in
/// metric names.
///
/// ```
/// use tallies::encode::{Escaping, Format, Options};
///
/// let registry = tallies::Registry::new();
/// tallies::Gauge::builder("http.load", "Load.").utf8().register(&registry)?;
/// let mut page = Vec::new();
/// let format = Format::TEXT.escaped(Escaping::Dots);
/// Options::new().write(&registry.snapshot(), format, &mut page);
/// assert!(String::from_utf8(page).unwrap().contains("http_dot_load 0"));
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// Only names declared with `utf8` can be outside this set. [`Dots`](Self::Dots) changes other
/// names, too.
///
/// Only the name of the family is escaped. Suffixes such as `_bucket` and `_sum` follow it
/// unchanged, as in `prometheus/common`: the samples of `http latency` are named
/// `U__http_20_latency_bucket`. A reader that reverses the escaping has to remove the suffix first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Escaping {
    /// Replaces each other character with `_`.
    #[default]
    Underscores,
    /// Replaces `.` with `_dot_`, `_` with `__` (in every name), and each other character with
    /// `__`.
    Dots,
    /// Puts `U__` before a name with other characters. Replaces each of them with its code point in
    /// hexadecimal between underscores, and `_` with `__`.
    Values,
    /// Writes the name unchanged, in quotes.
    AllowUtf8,
}

impl Escaping {
    /// All schemes.
    pub(crate) const ALL: [Self; 4] =
        [Self::AllowUtf8, Self::Underscores, Self::Dots, Self::Values];

    /// The schemes that change names.
    pub(crate) const LOSSY: [Self; 3] = [Self::Underscores, Self::Dots, Self::Values];

    /// Appends a metric name, escaped.
    pub(crate) fn name(self, name: &str, out: &mut String) {
        self.escape(name, is_metric_name(name.as_bytes()), ':', out);
    }

    /// Appends a label name, escaped.
    pub(crate) fn label(self, name: &str, out: &mut String) {
        self.escape(name, is_label_name(name.as_bytes()), '_', out);
    }

    /// Appends a label text with its names escaped.
    pub(crate) fn labels(self, text: &str, out: &mut String) {
        for (i, (name, value)) in labels::parts(text).enumerate() {
            if i > 0 {
                out.push(',');
            }
            self.label(name, out);
            out.push_str("=\"");
            out.push_str(value);
            out.push('"');
        }
    }

    /// Appends a name, escaped unless it is plain. `also` is allowed besides letters, digits and
    /// `_`.
    fn escape(self, name: &str, is_plain: bool, also: char, out: &mut String) {
        if self == Self::AllowUtf8 || is_plain && self != Self::Dots {
            out.push_str(name);
            return;
        }
        if self == Self::Values {
            out.push_str("U__");
        }
        for (i, c) in name.chars().enumerate() {
            let plain =
                c.is_ascii_alphabetic() || c == '_' || c == also || i > 0 && c.is_ascii_digit();
            match (self, c) {
                (Self::Dots, '.') => out.push_str("_dot_"),
                (Self::Dots | Self::Values, '_') => out.push_str("__"),
                (_, c) if plain => out.push(c),
                (Self::Underscores, _) => out.push('_'),
                (Self::Dots, _) => out.push_str("__"),
                // Writing to a string does not fail.
                _ => _ = write!(out, "_{:x}_", u32::from(c)),
            }
        }
    }
}

/// Returns whether `name` matches `[a-zA-Z_:][a-zA-Z0-9_:]*` (Prometheus data model).
pub(crate) const fn is_metric_name(name: &[u8]) -> bool {
    is_legacy_name(name, b':')
}

/// Returns whether `name` matches `[a-zA-Z_][a-zA-Z0-9_]*`.
pub(crate) const fn is_label_name(name: &[u8]) -> bool {
    is_legacy_name(name, b'_')
}

/// Returns whether `name` is in the legacy character set, to which the byte `also` belongs.
const fn is_legacy_name(name: &[u8], also: u8) -> bool {
    let mut i = 0;
    while i < name.len() {
        match name[i] {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => {}
            b'0'..=b'9' if i > 0 => {}
            byte if byte == also => {}
            _ => return false,
        }
        i += 1;
    }
    i > 0
}

/// Returns whether `name` can be written in quotes without escapes, which every format's parser
/// reads, and has no control character, which a terminal would obey.
pub(crate) const fn is_utf8_name(name: &[u8]) -> bool {
    let mut i = 0;
    while i < name.len() {
        match name[i] {
            b'"' | b'\\' | ..b' ' | 0x7F => return false,
            // U+0080 to U+009F.
            0xC2 if i + 1 < name.len() && name[i + 1] < 0xA0 => return false,
            _ => i += 1,
        }
    }
    i > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The plain twin goes by characters.
    #[test]
    fn names_that_a_terminal_would_obey_are_refused() {
        let is_name = |name: &str| {
            !name.is_empty() && !name.contains(|c: char| matches!(c, '"' | '\\') || c.is_control())
        };
        assert!(!is_utf8_name(b""));
        for c in '\0'..'\u{3000}' {
            let name = format!("a{c} é");
            assert_eq!(is_utf8_name(name.as_bytes()), is_name(&name), "{c:?}");
        }
    }

    fn escaped(scheme: Escaping, name: &str) -> String {
        let mut out = String::new();
        scheme.name(name, &mut out);
        out
    }

    /// Examples from the documentation and from the tests of `prometheus/common`, and cases that
    /// both leave open.
    #[test]
    fn schemes() {
        for (name, underscores, dots, values) in [
            (
                "no:escaping_required",
                "no:escaping_required",
                "no:escaping__required",
                "no:escaping_required",
            ),
            (
                "mysystem.prod.west.cpu.load",
                "mysystem_prod_west_cpu_load",
                "mysystem_dot_prod_dot_west_dot_cpu_dot_load",
                "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load",
            ),
            (
                "http.status:sum",
                "http_status:sum",
                "http_dot_status:sum",
                "U__http_2e_status:sum",
            ),
            (
                "label with 😱",
                "label_with__",
                "label__with____",
                "U__label_20_with_20__1f631_",
            ),
            ("花火", "__", "____", "U___82b1__706b_"),
            ("9a", "_a", "__a", "U___39_a"),
            (
                "my_system.load",
                "my_system_load",
                "my__system_dot_load",
                "U__my__system_2e_load",
            ),
        ] {
            assert_eq!(escaped(Escaping::Underscores, name), underscores);
            assert_eq!(escaped(Escaping::Dots, name), dots);
            assert_eq!(escaped(Escaping::Values, name), values);
            assert_eq!(escaped(Escaping::AllowUtf8, name), name);
        }
    }

    #[test]
    fn label_names_have_no_colon() {
        let mut out = String::new();
        Escaping::Values.labels(r#""a:b"="x\"y",c="z""#, &mut out);
        assert_eq!(out, r#"U__a_3a_b="x\"y",c="z""#);
        out.clear();
        Escaping::AllowUtf8.label("a:b", &mut out);
        assert_eq!(out, "a:b");
    }

    #[test]
    fn grammar() {
        for good in ["a", "a:b_c9", "_", ":"] {
            assert!(is_metric_name(good.as_bytes()), "{good}");
        }
        for bad in ["", "9a", "a-b", "ok\n", "a b", "ä"] {
            assert!(!is_metric_name(bad.as_bytes()), "{bad:?}");
        }
        assert!(is_label_name(b"a_9") && !is_label_name(b"a:b") && !is_label_name(b""));
    }
}
