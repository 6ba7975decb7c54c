//! The rules about names of Prometheus metrics: those of `promtool check metrics`, and a few more.
//!
//! A crate of its own, because a crate of macros can export nothing else: the macros of tallies
//! check declarations with it, tallies those that are made at run time, and tallies-check pages.

#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

use std::fmt;

/// The properties of a family that the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// The name.
    pub name: &'a str,
    /// The kind, as the text format calls it; `untyped` if it is not known.
    pub kind: &'a str,
    /// The unit; empty if there is none.
    pub unit: &'a str,
    /// The help text.
    pub help: &'a str,
}

/// A rule that a family breaks. `Display` says it as the end of a sentence about the family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// It has no help text.
    NoHelp,
    /// The unit, and the name that ends in it.
    Unit(String, String),
    /// The name with `_total`.
    NoTotal(String),
    /// `_total` ends a name that is no counter's.
    Total,
    /// `_timestamp_seconds` ends a name that is no gauge's.
    Timestamp,
    /// The suffix, which the samples of histograms and summaries have.
    Suffix(&'static str),
    /// The word of the name that is a unit, and the base unit.
    BaseUnit(String, &'static str),
    /// The abbreviated unit in the name.
    Abbreviation(&'static str),
    /// The kind.
    Kind(String),
    /// A colon in the name.
    Colon,
    /// A name in camel case.
    CamelCase,
    /// The label.
    LabelCamelCase(String),
    /// The label, and the kind that has it by itself.
    LabelReserved(String, &'static str),
    /// The label.
    LabelUnderscores(String),
    /// The label.
    LabelInName(String),
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHelp => write!(f, "it has no help text"),
            Self::Unit(unit, name) => {
                write!(
                    f,
                    "its unit is `{}`, so its name should be `{}`",
                    shown(unit),
                    shown(name)
                )
            }
            Self::NoTotal(name) => {
                write!(
                    f,
                    "it is a counter, so its name should be `{}`",
                    shown(name)
                )
            }
            Self::Total => write!(f, "its name ends in `_total`, but it is no counter"),
            Self::Timestamp => write!(
                f,
                "its name ends in `_timestamp_seconds`, but it is no gauge"
            ),
            Self::Suffix("_bucket") => {
                write!(f, "its name ends in `_bucket`, but it is no histogram")
            }
            Self::Suffix(suffix) => write!(
                f,
                "its name ends in `{suffix}`, but it is no histogram and no summary"
            ),
            Self::BaseUnit(unit, base) => {
                write!(
                    f,
                    "its name should have the base unit `{base}`, not `{}`",
                    shown(unit)
                )
            }
            Self::Abbreviation(unit) => write!(
                f,
                "its name should have the whole word for the unit `{unit}`, such as `seconds` or \
                 `bytes`"
            ),
            Self::Kind(kind) => write!(f, "its name should not say that it is a {kind}"),
            Self::Colon => write!(
                f,
                "its name has a `:`, which is for the results of recording rules"
            ),
            Self::CamelCase => write!(f, "its name should be in snake_case"),
            Self::LabelCamelCase(label) => {
                write!(f, "its label `{}` should be in snake_case", shown(label))
            }
            Self::LabelReserved(label, kind) => {
                write!(f, "it has the label `{label}`, but it is no {kind}")
            }
            Self::LabelUnderscores(label) => write!(
                f,
                "its label `{}` is reserved, because it begins with `__`",
                shown(label)
            ),
            Self::LabelInName(label) => write!(
                f,
                "its name should not repeat its label `{}`: a query that sums over the label makes \
                 the name wrong",
                shown(label)
            ),
        }
    }
}

/// Escapes a name, which may be anything.
fn shown(name: &str) -> std::str::EscapeDebug<'_> {
    name.escape_debug()
}

/// The words for units, and the base unit that should be used instead.
const UNITS: &[(&str, &str)] = &[
    ("amperes", "amperes"),
    ("bytes", "bytes"),
    ("celsius", "celsius"),
    ("grams", "grams"),
    ("joules", "joules"),
    ("kelvin", "kelvin"),
    ("meters", "meters"),
    ("metres", "metres"),
    ("seconds", "seconds"),
    ("volts", "volts"),
    ("minutes", "seconds"),
    ("hours", "seconds"),
    ("days", "seconds"),
    ("weeks", "seconds"),
    ("kelvins", "kelvin"),
    ("fahrenheit", "celsius"),
    ("rankine", "celsius"),
    ("inches", "meters"),
    ("yards", "meters"),
    ("miles", "meters"),
    ("bits", "bytes"),
    ("calories", "joules"),
    ("pounds", "grams"),
    ("ounces", "grams"),
];

/// The prefixes of units. `mebi` is missing and `mibi` is here, because promlint has it so.
const PREFIXES: &[&str] = &[
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega",
    "mibi", "giga", "gibi", "tera", "tebi", "peta", "pebi",
];

const ABBREVIATIONS: &[&str] = &[
    "s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d",
];

/// Returns what the rules say about a family's name, help text and unit.
pub fn of_family(family: Described<'_>) -> Vec<Note> {
    let Described {
        name,
        kind,
        unit,
        help,
    } = family;
    let mut notes = Vec::new();
    let total = if kind == "counter" { "_total" } else { "" };
    let stem = name.strip_suffix(total).unwrap_or(name);
    if can_end_name(unit) && stem != unit && !has_last_word(stem, unit) {
        let better = format!("{stem}_{unit}{total}");
        notes.push(Note::Unit(unit.to_owned(), better));
    } else if !name.ends_with(total) {
        notes.push(Note::NoTotal(format!("{name}_total")));
    }
    if help.is_empty() {
        notes.push(Note::NoHelp);
    }
    let is_typed = kind != "untyped";
    if is_typed && kind != "counter" && name.ends_with("_total") {
        notes.push(Note::Total);
    }
    if is_typed && kind != "gauge" && name.ends_with("_timestamp_seconds") {
        notes.push(Note::Timestamp);
    }
    for (suffix, kinds) in [
        ("_bucket", &["histogram"][..]),
        ("_count", &["histogram", "summary"]),
        ("_sum", &["histogram", "summary"]),
    ] {
        if is_typed && !kinds.contains(&kind) && name.ends_with(suffix) {
            notes.push(Note::Suffix(suffix));
        }
    }
    if let Some((word, base)) = name.split('_').find_map(unit_word) {
        if word != base {
            notes.push(Note::BaseUnit(word.to_owned(), base));
        }
    }
    let lower = name.to_lowercase();
    let short = ABBREVIATIONS.iter().find(|unit| has_word(&lower, unit));
    notes.extend(short.map(|unit| Note::Abbreviation(unit)));
    if is_typed && has_word(&lower, kind) {
        notes.push(Note::Kind(kind.to_owned()));
    }
    if name.contains(':') {
        notes.push(Note::Colon);
    }
    if is_camel_case(name) {
        notes.push(Note::CamelCase);
    }
    notes
}

/// Returns what the rules say about one label of a family.
pub fn of_label(family: Described<'_>, label: &str) -> Vec<Note> {
    let mut notes = Vec::new();
    if is_camel_case(label) {
        notes.push(Note::LabelCamelCase(label.to_owned()));
    }
    for (reserved, kind) in [("le", "histogram"), ("quantile", "summary")] {
        if label == reserved && ![kind, "untyped"].contains(&family.kind) {
            notes.push(Note::LabelReserved(label.to_owned(), kind));
        }
    }
    if label.starts_with("__") {
        notes.push(Note::LabelUnderscores(label.to_owned()));
    }
    if has_word(family.name, &format!("by_{label}")) {
        notes.push(Note::LabelInName(label.to_owned()));
    }
    notes
}

/// Returns whether a name that ends in this unit is valid, so that it can be proposed.
fn can_end_name(unit: &str) -> bool {
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    !unit.is_empty() && unit.as_bytes().iter().all(is_valid)
}

/// Returns the word and its base unit, if the word is a unit with or without a prefix.
fn unit_word(word: &str) -> Option<(&str, &'static str)> {
    let known = |unit: &str| UNITS.iter().find(|(known, _)| *known == unit);
    let stripped = PREFIXES.iter().filter_map(|p| word.strip_prefix(p));
    let found = known(word).or_else(|| stripped.filter_map(known).next())?;
    Some((word, found.1))
}

/// Returns whether a word stands in a name, but not as its first word.
fn has_word(name: &str, word: &str) -> bool {
    name.contains(&format!("_{word}_")) || has_last_word(name, word)
}

fn has_last_word(name: &str, word: &str) -> bool {
    name.strip_suffix(word)
        .is_some_and(|rest| rest.ends_with('_'))
}

fn is_camel_case(name: &str) -> bool {
    let bytes = name.as_bytes();
    let mut pairs = bytes.windows(2);
    pairs.any(|pair| pair[0].is_ascii_lowercase() && pair[1].is_ascii_uppercase())
}
