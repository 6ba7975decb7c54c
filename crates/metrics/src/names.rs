//! Names as metrics-exporter-prometheus writes them: replaced characters, added suffixes, and
//! matchers.

use std::borrow::Cow;

use metrics::Unit;

/// Selects the metrics that a setting applies to. It is compared with exposed names, without
/// suffixes.
///
/// ```
/// use tallies_metrics::Matcher;
///
/// assert!(Matcher::suffix("_seconds").matches("http_request_seconds"));
/// assert!(!Matcher::full("http").matches("http_request_seconds"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Matcher {
    /// Matches this whole name.
    Full(String),
    /// Matches names that begin with this text.
    Prefix(String),
    /// Matches names that end with this text.
    Suffix(String),
}

impl Matcher {
    /// Returns a matcher for the metric with this name.
    ///
    /// ```
    /// use tallies_metrics::Matcher;
    ///
    /// assert!(Matcher::full("wait").matches("wait"));
    /// assert!(!Matcher::full("wait").matches("wait_seconds"));
    /// ```
    #[must_use]
    pub fn full(name: &str) -> Self {
        Self::Full(metric_name(name))
    }

    /// Returns a matcher for metrics whose names begin with `beginning`.
    ///
    /// ```
    /// use tallies_metrics::Matcher;
    ///
    /// assert!(Matcher::prefix("wait").matches("wait_seconds"));
    /// ```
    #[must_use]
    pub fn prefix(beginning: &str) -> Self {
        Self::Prefix(metric_name(beginning))
    }

    /// Returns a matcher for metrics whose names end with `end`.
    ///
    /// ```
    /// use tallies_metrics::Matcher;
    ///
    /// assert!(Matcher::suffix("_seconds").matches("wait_seconds"));
    /// ```
    #[must_use]
    pub fn suffix(end: &str) -> Self {
        Self::Suffix(metric_name(end))
    }

    pub(super) fn text(&self) -> &str {
        match self {
            Self::Full(text) | Self::Prefix(text) | Self::Suffix(text) => text,
        }
    }

    /// Returns whether this matcher selects `name`.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        match self {
            Self::Full(full) => name == full,
            Self::Prefix(beginning) => name.starts_with(beginning),
            Self::Suffix(end) => name.ends_with(end),
        }
    }
}

/// Replaces each character that a metric name cannot contain with `_`, including a leading digit.
pub(super) fn metric_name(name: &str) -> String {
    let valid = |(i, c)| match c {
        'a'..='z' | 'A'..='Z' | '_' | ':' => c,
        '0'..='9' if i > 0 => c,
        _ => '_',
    };
    name.chars().enumerate().map(valid).collect()
}

/// Replaces characters like [`metric_name`], and colons as well. Adds the prefix `exported_` to
/// reserved names, as Prometheus does for labels that it sets itself.
pub(super) fn label_name(name: &str, reserved: Option<&str>) -> String {
    let name = metric_name(name).replace(':', "_");
    if name.is_empty() {
        "_".to_owned()
    } else if name.starts_with("__") || reserved == Some(&*name) {
        format!("exported_{name}")
    } else {
        name
    }
}

/// Returns the unit as it appears in names. A count has no unit there.
fn unit_in_names(unit: Unit) -> Option<&'static str> {
    match unit {
        Unit::Count => None,
        Unit::Percent => Some("ratio"),
        unit => Some(unit.as_str()),
    }
}

/// Returns the recommended name: inserts the unit before a suffix such as `_total`, unless it is
/// already there, and appends `_total` to the name of a counter.
pub(super) fn recommended(name: &str, unit: Option<Unit>, counter: bool) -> String {
    let mut name = name.to_owned();
    if let Some(unit) = unit.and_then(unit_in_names) {
        let mut ends = ["_sum", "_count", "_bucket", "_total"].iter();
        let stem = ends.find_map(|end| name.strip_suffix(end)).unwrap_or(&name);
        if !stem.ends_with(unit) {
            let end = stem.len();
            name.insert_str(end, &format!("_{unit}"));
        }
    }
    if counter && !name.ends_with("total") {
        name.push_str("_total");
    }
    name
}

/// Returns the unit, if `name` ends with it; otherwise an empty text, because formats allow a unit
/// only if the name ends with it.
pub(super) fn unit_of(name: &str, unit: Option<Unit>) -> Cow<'static, str> {
    let base = name.strip_suffix("_total").unwrap_or(name);
    let before = |unit: &&str| base.strip_suffix(*unit);
    let is_end = |unit: &&str| before(unit).is_some_and(|rest| rest.ends_with('_'));
    let unit = unit.and_then(unit_in_names).filter(is_end);
    unit.unwrap_or_default().into()
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
