//! The difference between two declarations of one name, in words for an error message.

use std::fmt;
use std::time::Duration;

use super::sketch::Targets;

/// A property in which two declarations of one name differ.
#[derive(Debug)]
pub(crate) struct Difference {
    /// The property of the second declaration.
    pub(crate) property: &'static str,
    /// The values in both, if they say more than the property.
    values: Option<(String, String)>,
}

impl Difference {
    /// A property whose values say no more.
    pub(crate) const fn in_property(property: &'static str) -> Self {
        let values = None;
        Self { property, values }
    }

    pub(crate) fn of(property: &'static str, first: String, second: String) -> Self {
        let values = Some((first, second));
        Self { property, values }
    }

    pub(crate) fn help(first: &str, second: &str) -> Self {
        Self::of("another help text", quoted(first), quoted(second))
    }

    /// `None` is the default bounds.
    pub(crate) fn buckets(first: Option<&[f64]>, second: Option<&[f64]>) -> Self {
        let text = |bounds: Option<&[f64]>| match bounds {
            None => "the default ones".to_owned(),
            Some([]) => "none".to_owned(),
            Some(bounds) => format!("{bounds:?}"),
        };
        Self::of("other buckets", text(first), text(second))
    }

    pub(crate) fn objectives(first: &Targets, second: &Targets) -> Self {
        let text = |targets: &Targets| format!("{:?}", targets.as_slice());
        Self::of("other objectives", text(first), text(second))
    }

    pub(crate) fn window(first: Option<Duration>, second: Option<Duration>) -> Self {
        Self::of("another window", or_none(first), or_none(second))
    }

    /// Displays the two values, each followed by one of the words.
    pub(crate) fn values(&self, first_word: &str, second_word: &str) -> impl fmt::Display {
        match &self.values {
            None => String::new(),
            Some((first, second)) => format!(": {first} {first_word}, {second} {second_word}"),
        }
    }
}

pub(crate) fn quoted(text: &str) -> String {
    format!("`{}`", text.escape_debug())
}

pub(crate) fn or_none(value: Option<impl fmt::Debug>) -> String {
    value.map_or_else(|| "none".to_owned(), |value| format!("{value:?}"))
}

/// Joins texts with commas; `none` if there are none.
pub(crate) fn join(texts: impl Iterator<Item = String>) -> String {
    let texts: Vec<_> = texts.collect();
    if texts.is_empty() {
        return "none".to_owned();
    }
    texts.join(", ")
}
