//! The grammar of names: metric names, label names, and prefixes of names.

use crate::error::NameRule;
use crate::snapshot::{Kind, is_label_name, is_metric_name, is_utf8_name};

/// Puts a prefix before a name. Adds an underscore between them if the prefix ends in an ASCII
/// letter or digit.
pub(crate) fn prefixed(prefix: &str, name: &str) -> String {
    let joined = prefix.ends_with(|c: char| c.is_ascii_alphanumeric());
    let between = if joined { "_" } else { "" };
    format!("{prefix}{between}{name}")
}

/// Checks a metric name against the grammar of the Prometheus data model.
pub(crate) const fn check_name(name: &[u8]) -> Result<(), NameRule> {
    check_name_of(name, false)
}

/// Checks a metric name. `utf8`: it may have any characters of UTF-8.
pub(super) const fn check_name_of(name: &[u8], utf8: bool) -> Result<(), NameRule> {
    match utf8 {
        true if !is_utf8_name(name) => Err(NameRule::Utf8),
        false if !is_metric_name(name) => Err(NameRule::Metric),
        _ => Ok(()),
    }
}

/// Checks a label name: its grammar, and that it is not reserved.
pub(crate) const fn check_label(name: &[u8], kind: Kind) -> Result<(), NameRule> {
    check_label_of(name, kind, false)
}

pub(super) const fn check_label_of(name: &[u8], kind: Kind, utf8: bool) -> Result<(), NameRule> {
    match name {
        _ if utf8 && !is_utf8_name(name) => Err(NameRule::Utf8),
        _ if !utf8 && !is_label_name(name) => Err(NameRule::Label),
        [b'_', b'_', ..] => Err(NameRule::Underscores),
        b"le" if matches!(kind, Kind::Histogram | Kind::GaugeHistogram) => Err(NameRule::Le),
        b"quantile" if matches!(kind, Kind::Summary) => Err(NameRule::Quantile),
        _ => Ok(()),
    }
}

pub(super) const fn check_labels(
    names: &[&str],
    kind: Kind,
    utf8: bool,
) -> Result<(), (usize, NameRule)> {
    let mut i = 0;
    while i < names.len() {
        if let Err(why) = check_label_of(names[i].as_bytes(), kind, utf8) {
            return Err((i, why));
        }
        let mut other = 0;
        while other < i {
            if same_bytes(names[i].as_bytes(), names[other].as_bytes()) {
                return Err((i, NameRule::Twice));
            }
            other += 1;
        }
        i += 1;
    }
    Ok(())
}

/// Returns whether two names are equal, in `const` code.
const fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels() {
        for good in ["a", "a:b_c9", "_", ":"] {
            assert!(check_name(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["", "9a", "a-b", "ok\n", "a b", "ä"] {
            assert!(check_name(bad.as_bytes()).is_err(), "{bad:?}");
        }
        for bad in ["", "1a", "bad-label", "a:b", "__x", "x\n"] {
            assert!(
                check_label(bad.as_bytes(), Kind::Counter).is_err(),
                "{bad:?}"
            );
        }
        assert!(check_label(b"le", Kind::Histogram).is_err());
        assert!(check_label(b"le", Kind::Counter).is_ok());
        assert!(check_label(b"job", Kind::Counter).is_ok());
        assert_eq!(
            check_labels(&["a", "b", "a"], Kind::Gauge, false),
            Err((2, NameRule::Twice))
        );
    }

    #[test]
    fn a_prefix_is_set_apart_from_the_name() {
        for (prefix, whole) in [
            ("", "name"),
            ("my", "my_name"),
            ("my_", "my_name"),
            ("my:", "my:name"),
            ("v2", "v2_name"),
            ("my__", "my__name"),
            ("my.", "my.name"),
            ("ö", "öname"),
        ] {
            assert_eq!(prefixed(prefix, "name"), whole);
        }
    }
}
