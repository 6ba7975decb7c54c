//! Names as metrics-exporter-prometheus writes them: what it replaces, which suffixes it adds, and which matchers it knows.

use std::borrow::Cow;

use metrics::Unit;

/// Which metrics a setting is for, by their names as they are exposed, without suffixes.
///
/// ```
/// use tallies::facade::Matcher;
///
/// assert!(Matcher::suffix("_seconds").matches("http_request_seconds"));
/// assert!(!Matcher::full("http").matches("http_request_seconds"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matcher {
    /// The whole name.
    Full(String),
    /// What the name begins with.
    Prefix(String),
    /// What the name ends in.
    Suffix(String),
}

impl Matcher {
    /// The metric of this name.
    #[must_use]
    pub fn full(name: &str) -> Self {
        Self::Full(metric_name(name))
    }

    /// Metrics whose names begin so.
    #[must_use]
    pub fn prefix(beginning: &str) -> Self {
        Self::Prefix(metric_name(beginning))
    }

    /// Metrics whose names end so.
    #[must_use]
    pub fn suffix(end: &str) -> Self {
        Self::Suffix(metric_name(end))
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Full(text) | Self::Prefix(text) | Self::Suffix(text) => text,
        }
    }

    /// Whether `name` is meant.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Full(full) => name == full,
            Self::Prefix(beginning) => name.starts_with(beginning),
            Self::Suffix(end) => name.ends_with(end),
        }
    }
}

/// Whatever may not stand in a name becomes `_`, and so does a digit at its beginning.
pub(super) fn metric_name(name: &str) -> String {
    name.chars()
        .enumerate()
        .map(|(i, c)| match c {
            'a'..='z' | 'A'..='Z' | '_' | ':' => c,
            '0'..='9' if i > 0 => c,
            _ => '_',
        })
        .collect()
}

/// As [`metric_name`], without colons. A name that is reserved here gets `exported_` before it, as Prometheus does with
/// labels that it sets itself.
pub(super) fn label_name(name: &str, reserved: Option<&str>) -> String {
    let name: String = name
        .chars()
        .enumerate()
        .map(|(i, c)| match c {
            'a'..='z' | 'A'..='Z' | '_' => c,
            '0'..='9' if i > 0 => c,
            _ => '_',
        })
        .collect();
    if name.is_empty() {
        "_".to_owned()
    } else if name.starts_with("__") || reserved == Some(&*name) {
        format!("exported_{name}")
    } else {
        name
    }
}

/// The unit as names have it; a count has none.
fn unit_in_names(unit: Unit) -> Option<&'static str> {
    match unit {
        Unit::Count => None,
        Unit::Percent => Some("ratio"),
        unit => Some(unit.as_str()),
    }
}

/// The name with its unit, before a `_total` and its kin, unless it has it; and a counter's with `_total`.
pub(super) fn recommended(name: &str, unit: Option<Unit>, counter: bool) -> String {
    let mut name = name.to_owned();
    if let Some(unit) = unit.and_then(unit_in_names) {
        let end = ["_sum", "_count", "_bucket", "_total"]
            .into_iter()
            .find(|end| name.ends_with(end))
            .map_or(name.len(), |end| name.len() - end.len());
        if !name[..end].ends_with(unit) {
            name.insert_str(end, unit);
            name.insert(end, '_');
        }
    }
    if counter && !name.ends_with("total") {
        name.push_str("_total");
    }
    name
}

/// The unit, where the name ends in it: only then a format may say it.
pub(super) fn unit_of(name: &str, unit: Option<Unit>) -> Cow<'static, str> {
    let base = name.strip_suffix("_total").unwrap_or(name);
    unit.and_then(unit_in_names)
        .filter(|unit| {
            base.strip_suffix(unit)
                .is_some_and(|rest| rest.ends_with('_'))
        })
        .unwrap_or_default()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for (given, name) in [
            ("http.requests", "http_requests"),
            ("9lives", "_lives"),
            ("a:b-c", "a:b_c"),
            ("größe", "gr__e"),
            ("", ""),
        ] {
            assert_eq!(metric_name(given), name, "{given}");
        }
        assert_eq!(label_name("a:b", None), "a_b");
        assert_eq!(label_name("le", Some("le")), "exported_le");
        assert_eq!(label_name("le", Some("quantile")), "le");
        assert_eq!(label_name("__name__", None), "exported___name__");
        assert_eq!(label_name("", None), "_");
    }

    #[test]
    fn suffixes() {
        for (given, unit, counter, name) in [
            ("sent", Some(Unit::Bytes), true, "sent_bytes_total"),
            ("sent_total", Some(Unit::Bytes), true, "sent_bytes_total"),
            (
                "sent_bytes_total",
                Some(Unit::Bytes),
                true,
                "sent_bytes_total",
            ),
            ("jobs", Some(Unit::Count), true, "jobs_total"),
            ("load", Some(Unit::Percent), false, "load_ratio"),
            ("wait_seconds", Some(Unit::Seconds), false, "wait_seconds"),
            ("subtotal", None, true, "subtotal"),
        ] {
            assert_eq!(recommended(given, unit, counter), name);
        }
        assert_eq!(unit_of("sent_bytes_total", Some(Unit::Bytes)), "bytes");
        assert_eq!(unit_of("sent_total", Some(Unit::Bytes)), "");
        assert_eq!(unit_of("kilobytes", Some(Unit::Bytes)), "");
    }
}
