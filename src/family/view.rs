//! The part of a view that a family has: the labels that its series lose, and the number of values
//! that a label may have.
//!
//! Callers give the label values of the declaration, [`LabelRules::reduce`] turns them into those
//! of a series. The threads' label caches are above the view: they have the values of the
//! declaration, so an update that hits the cache costs what it costs without a view. Label texts,
//! the index and everything that reads them are below, and know no view.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{PoisonError, RwLock};

use crate::snapshot::{GaugeMode, Text};

use super::desc::Names;

/// The label value for which a cap has no room.
const OVERFLOW: &str = "__overflow__";

/// The view of a family.
pub(crate) struct LabelRules {
    /// The name and the label names of the declaration.
    pub(crate) name: Text,
    pub(crate) labels: Names,
    /// Whether the family is off: all its label sets share one series, which no scrape exports.
    pub(crate) off: bool,
    /// The labels that series lose.
    pub(crate) dropped: Box<[String]>,
    pub(crate) caps: Box<[Cap]>,
    /// The labels that a gauge loses in a scrape, and the rule that combines its series there.
    pub(crate) combined: Option<(Box<[String]>, GaugeMode)>,
    /// The number of updates in series in which a cap replaced a value by `__overflow__`. Written
    /// by these, read by reports.
    pub(crate) refused: AtomicU64,
}

/// The number of values that a label may have.
pub(crate) struct Cap {
    pub(crate) label: Box<str>,
    limit: usize,
    /// The first values. Written by look-ups that make a series, read by look-ups that miss the
    /// label cache.
    pub(super) values: RwLock<HashSet<Box<str>>>,
}

/// The result of [`LabelRules::reduce`].
pub(crate) struct Reduced<'a> {
    pub(crate) texts: Cow<'a, [&'a str]>,
    /// Whether a cap replaced a value. Label caches do not remember such a label set, because the
    /// values beyond a cap are many.
    pub(crate) is_capped: bool,
}

impl LabelRules {
    /// Returns whether the series have other labels than the declaration.
    pub(crate) fn changes_labels(&self) -> bool {
        self.off || !self.dropped.is_empty() || !self.caps.is_empty()
    }

    /// Returns the label values of the series in which a label set counts. `makes`: new values
    /// count towards the caps, because the caller makes a series with them.
    ///
    /// Returns `None` if there are not as many values as the declaration has labels.
    pub(crate) fn reduce<'a>(&self, texts: &[&'a str], makes: bool) -> Option<Reduced<'a>> {
        let (mut own, mut is_capped) = (Vec::with_capacity(texts.len()), false);
        let of_series = |texts, is_capped| {
            Some(Reduced {
                texts: Cow::Owned(texts),
                is_capped,
            })
        };
        if self.off {
            return of_series(own, is_capped);
        }
        let has_own_names = match self.labels {
            Names::Fixed(names) if names.len() != texts.len() => return None,
            names => names == Names::Any,
        };
        for (name, value) in self.labels.pairs(texts) {
            if !self.drops(name) {
                own.extend(has_own_names.then_some(name));
                own.push(self.capped(name, value, makes, &mut is_capped));
            }
        }
        of_series(own, is_capped)
    }

    /// Returns whether the series in which a label set of the declaration counts is also that of
    /// others. The label set may be that of the series itself, which has the value of the others.
    pub(crate) fn shares(&self, texts: &[&str]) -> bool {
        let is_beyond = || {
            let mut pairs = self.labels.pairs(texts);
            pairs.any(|(name, value)| self.is_beyond_cap(name, value))
        };
        let is_capped = || {
            let reduced = self.reduce(texts, false);
            reduced.is_some_and(|reduced| reduced.is_capped)
        };
        self.off || !self.dropped.is_empty() || is_beyond() || is_capped()
    }

    /// Returns whether a cap has put several values of a label into the series with this value.
    fn is_beyond_cap(&self, name: &str, value: &str) -> bool {
        value == OVERFLOW && self.caps.iter().any(|cap| *cap.label == *name)
    }

    fn drops(&self, name: &str) -> bool {
        self.dropped.iter().any(|dropped| **dropped == *name)
    }

    fn capped<'a>(&self, name: &str, value: &'a str, makes: bool, is_capped: &mut bool) -> &'a str {
        match self.caps.iter().find(|cap| *cap.label == *name) {
            Some(cap) if !cap.admits(value, makes) => {
                *is_capped = true;
                OVERFLOW
            }
            _ => value,
        }
    }

    /// Lets the caps begin again, for a family without series.
    pub(crate) fn clear(&self) {
        for cap in &self.caps {
            let mut values = cap.values.write().unwrap_or_else(PoisonError::into_inner);
            values.clear();
        }
    }

    /// Counts an update in a series in which a cap replaced a value. Those in the overflow series
    /// of the family are not among them, because the family counts them.
    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Relaxed);
    }

    /// Returns the number of updates that [`count_refused`](Self::count_refused) counted.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }
}

impl Cap {
    pub(crate) fn new(label: &str, limit: usize) -> Self {
        Self {
            label: label.into(),
            limit,
            values: RwLock::default(),
        }
    }

    /// Returns whether a value is one of the first.
    fn admits(&self, value: &str, makes: bool) -> bool {
        // `None` of an `Option` is the empty text, the same as no label.
        if value.is_empty() || value == OVERFLOW {
            return true;
        }
        let values = self.values.read().unwrap_or_else(PoisonError::into_inner);
        let (is_known, has_room) = (values.contains(value), values.len() < self.limit);
        drop(values);
        if is_known {
            return true;
        }
        if !makes {
            return has_room;
        }
        if has_room {
            let mut values = self.values.write().unwrap_or_else(PoisonError::into_inner);
            // Another thread may have taken the last room in between.
            if values.len() < self.limit || values.contains(value) {
                values.insert(value.into());
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(labels: Names, dropped: &[&str], caps: &[(&str, usize)]) -> LabelRules {
        LabelRules {
            name: Text::EMPTY,
            labels,
            off: false,
            dropped: dropped.iter().map(|name| (*name).to_owned()).collect(),
            caps: caps.iter().map(|(name, n)| Cap::new(name, *n)).collect(),
            combined: None,
            refused: AtomicU64::new(0),
        }
    }

    #[test]
    fn a_dropped_label_has_no_value() {
        let fixed = view(Names::Fixed(&["a", "b", "c"]), &["b"], &[]);
        assert_eq!(
            *fixed.reduce(&["1", "2", "3"], true).unwrap().texts,
            ["1", "3"]
        );
        assert!(
            fixed.reduce(&["1", "3"], true).is_none(),
            "a value is missing"
        );
        let any = view(Names::Any, &["b"], &[]);
        assert_eq!(
            *any.reduce(&["a", "1", "b", "2"], true).unwrap().texts,
            ["a", "1"]
        );
        assert!(any.reduce(&["b", "2"], true).unwrap().texts.is_empty());
    }

    #[test]
    fn the_first_values_of_a_capped_label_stay() {
        let view = view(Names::Fixed(&["a"]), &[], &[("a", 2)]);
        let reduced = |value, makes| view.reduce(&[value], makes).unwrap().texts[0].to_owned();
        assert_eq!(
            reduced("x", false),
            "x",
            "a look-up that makes nothing takes no room"
        );
        assert_eq!([reduced("1", true), reduced("2", true)], ["1", "2"]);
        assert_eq!([reduced("3", true), reduced("3", false)], [OVERFLOW; 2]);
        assert_eq!([reduced("2", true), reduced("", true)], ["2", ""]);
        view.clear();
        assert_eq!(reduced("3", true), "3");
    }
}
