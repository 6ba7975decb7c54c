//! The rules about names of Prometheus metrics: those of `promtool check metrics`, and a few more;
//! patterns of names, texts from outside that a terminal does not obey, and files of settings. Two
//! hidden macros write setters of builders, and getters.
//!
//! A crate of its own, because a crate of macros can export nothing else: the macros of tallies
//! check declarations with it, tallies those that are made at run time, and tallies-check pages.

#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

#[cfg(feature = "file")]
mod file;
mod pattern;
mod printable;
mod rule;
mod setters;

#[cfg(feature = "file")]
pub use file::read_file;
pub use pattern::capture;
pub use printable::{Printable, is_printable};
pub use rule::Rule;

/// The properties of a family that the rules look at.
#[derive(Clone, Copy, Debug)]
pub struct Described<'a> {
    /// The name.
    pub name: &'a str,
    /// The kind, as the text format calls it; `info` of an info, and `untyped` if it is not known.
    pub kind: &'a str,
    /// The unit; empty if there is none.
    pub unit: &'a str,
    /// The help text.
    pub help: &'a str,
}

/// A rule that a family breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The rule.
    pub rule: Rule,
    /// The mistake, and what would be right, as the end of a sentence about the family. Names in it
    /// are escaped.
    pub text: String,
}

/// The base units, and the words for units that should not be used instead.
const UNITS: &[(&str, &[&str])] = &[
    ("amperes", &[]),
    ("bytes", &["bits"]),
    ("celsius", &["fahrenheit", "rankine"]),
    ("grams", &["pounds", "ounces"]),
    ("joules", &["calories"]),
    ("kelvin", &["kelvins"]),
    ("meters", &["inches", "yards", "miles"]),
    ("metres", &[]),
    ("seconds", &["minutes", "hours", "days", "weeks"]),
    ("volts", &[]),
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
    let (name, kind, unit) = (family.name, text_kind(family.kind), family.unit);
    let mut notes = Vec::new();
    let mut add = |rule, text| notes.push(Note { rule, text });
    if family.kind == "info" && !name.ends_with("_info") {
        let better = format!("so its name should be `{}_info`", name.escape_debug());
        add(Rule::InfoSuffix, format!("it is an info, {better}"));
    }
    let total = if kind == "counter" { "_total" } else { "" };
    let stem = name.strip_suffix(total).unwrap_or(name);
    if can_end_name(unit) && stem != unit && !has_last_word(stem, unit) {
        let stem = stem.escape_debug();
        let better = format!("its unit is `{unit}`, so its name should be `{stem}_{unit}{total}`");
        add(Rule::Unit, better);
    } else if !name.ends_with(total) {
        let stem = name.escape_debug();
        let better = format!("it is a counter, so its name should be `{stem}_total`");
        add(Rule::CounterSuffix, better);
    }
    if family.help.is_empty() {
        add(Rule::Help, "it has no help text".to_owned());
    }
    for (rule, suffix, kinds) in [
        (Rule::TotalSuffix, "_total", &["counter"][..]),
        (Rule::TimestampSuffix, "_timestamp_seconds", &["gauge"]),
        (Rule::SampleSuffix, "_bucket", &["histogram"]),
        (Rule::SampleSuffix, "_count", &["histogram", "summary"]),
        (Rule::SampleSuffix, "_sum", &["histogram", "summary"]),
    ] {
        if is_typed(kind) && !kinds.contains(&kind) && name.ends_with(suffix) {
            let kinds = kinds.join(" and no ");
            let text = format!("its name ends in `{suffix}`, but it is no {kinds}");
            add(rule, text);
        }
    }
    if let Some((word, base)) = name.split('_').find_map(unit_word) {
        if word != base {
            let word = word.escape_debug();
            let better = format!("its name should have the base unit `{base}`, not `{word}`");
            add(Rule::BaseUnit, better);
        }
    }
    let lower = name.to_ascii_lowercase();
    if let Some(unit) = ABBREVIATIONS.iter().find(|unit| has_word(&lower, unit)) {
        let better = "such as `seconds` or `bytes`";
        let text = format!("its name should have the whole word for the unit `{unit}`, {better}");
        add(Rule::UnitAbbreviation, text);
    }
    if is_typed(kind) && has_word(&lower, kind) {
        let text = format!("its name should not say that it is a {kind}");
        add(Rule::KindInName, text);
    }
    if name.contains(':') {
        let text = "its name has a `:`, which is for the results of recording rules";
        add(Rule::Colon, text.to_owned());
    }
    if is_camel_case(name) {
        let text = "its name should be in snake_case";
        add(Rule::SnakeCase, text.to_owned());
    }
    notes
}

/// Returns what the rules say about one label of a family.
pub fn of_label(family: Described<'_>, label: &str) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut add = |rule, text| notes.push(Note { rule, text });
    let escaped = label.escape_debug();
    if is_camel_case(label) {
        let text = format!("its label `{escaped}` should be in snake_case");
        add(Rule::SnakeCase, text);
    }
    for (reserved, kind) in [("le", "histogram"), ("quantile", "summary")] {
        if label == reserved && is_typed(family.kind) && family.kind != kind {
            let text = format!("it has the label `{label}`, but it is no {kind}");
            add(Rule::ReservedLabel, text);
        }
    }
    if label.starts_with("__") {
        let text = format!("its label `{escaped}` is reserved, because it begins with `__`");
        add(Rule::LabelUnderscores, text);
    }
    if has_word(family.name, &format!("by_{label}")) {
        let why = "a query that sums over the label makes the name wrong";
        let text = format!("its name should not repeat its label `{escaped}`: {why}");
        add(Rule::LabelInName, text);
    }
    notes
}

/// Text and protobuf have no infos.
fn text_kind(kind: &str) -> &str {
    if kind == "info" { "gauge" } else { kind }
}

fn is_typed(kind: &str) -> bool {
    kind != "untyped"
}

/// Returns whether a name that ends in this unit is valid, so that it can be proposed.
fn can_end_name(unit: &str) -> bool {
    let is_valid = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    !unit.is_empty() && unit.as_bytes().iter().all(is_valid)
}

/// Returns the word and its base unit, if the word is a unit with or without a prefix.
fn unit_word(word: &str) -> Option<(&str, &'static str)> {
    let known = |unit: &str| {
        let is_it = |(base, others): &&(&str, &[&str])| *base == unit || others.contains(&unit);
        UNITS.iter().find(is_it)
    };
    let stripped = PREFIXES.iter().filter_map(|p| word.strip_prefix(p));
    let found = known(word).or_else(|| stripped.filter_map(known).next())?;
    Some((word, found.0))
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
