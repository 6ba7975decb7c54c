//! Conflicts between families: whether two families would expose samples of the same name.

use super::{Escaping, Family, Kind};

/// A family's name and kind, and whether the name may be outside the legacy character set.
pub(crate) type ExposedName<'a> = (&'a str, Kind, bool);

/// Returns whether two families would expose samples of the same name, in any format and under any
/// [`Escaping`].
pub(crate) fn clash(
    (a, a_kind, a_utf8): ExposedName<'_>,
    (b, b_kind, b_utf8): ExposedName<'_>,
) -> bool {
    if clash_as_written((a, a_kind), (b, b_kind)) {
        return true;
    }
    if !a_utf8 && !b_utf8 || !may_begin_alike(a, b) {
        return false;
    }
    Escaping::LOSSY.iter().any(|escaping| {
        let [mut one, mut two] = [String::new(), String::new()];
        escaping.name(a, &mut one);
        escaping.name(b, &mut two);
        clash_as_written((&one, a_kind), (&two, b_kind))
    })
}

/// Returns whether two names can start alike once they are escaped. This costs less than escaping
/// them.
fn may_begin_alike(a: &str, b: &str) -> bool {
    let [a, b] = [a, b].map(|name| match name.bytes().next() {
        Some(first) if first.is_ascii_alphabetic() || first == b':' => first,
        _ => b'_',
    });
    // `Escaping::Values` puts `U__` before names.
    a == b || a == b'U' || b == b'U'
}

/// Returns the family that would expose a sample of the same name as `family`. The families are
/// sorted by name.
pub(crate) fn clashing<'a>(families: &'a [Family], family: &Family) -> Option<&'a Family> {
    // A conflicting name starts with the stem of this one, or with the name that this one looks
    // like a sample of.
    let stem = family.kind().stem(family.name());
    let stems = [Some(stem), without_suffix(stem)].into_iter().flatten();
    let mut alike = stems.flat_map(|stem| {
        let from = families.partition_point(|other| other.name() < stem);
        let alike = move |other: &&Family| other.name().starts_with(stem);
        families[from..].iter().take_while(alike)
    });
    alike
        .find(|other| clash(exposed(family), exposed(other)))
        .or_else(|| {
            // A name with several escaped forms does not sort by all of them, so every such family
            // is checked.
            let utf8 = |other: &Family| other.meta.utf8 || family.meta.utf8;
            let mut utf8 = families.iter().filter(|other| utf8(other));
            utf8.find(|other| clash(exposed(family), exposed(other)))
        })
}

pub(crate) fn exposed(family: &Family) -> ExposedName<'_> {
    (family.name(), family.kind(), family.meta.utf8)
}

/// Returns the name that `name` looks like a sample of, if it ends in the suffix of a sample.
pub(super) fn without_suffix(name: &str) -> Option<&str> {
    SAMPLE_SUFFIXES
        .iter()
        .find_map(|end| name.strip_suffix(end))
}

/// Every suffix of [`Kind::suffixes`]. None is the end of another.
const SAMPLE_SUFFIXES: [&str; 8] = [
    "_total", "_created", "_info", "_count", "_sum", "_bucket", "_gcount", "_gsum",
];

fn clash_as_written((a, a_kind): (&str, Kind), (b, b_kind): (&str, Kind)) -> bool {
    let (a_base, b_base) = (a_kind.stem(a), b_kind.stem(b));
    // A cheap check first: the shorter stem has to be the start of the longer one.
    let (long, short) = if a_base.len() > b_base.len() {
        (a_base, b_base)
    } else {
        (b_base, a_base)
    };
    long.strip_prefix(short).is_some_and(|rest| {
        a_kind.suffixes().iter().any(|a| {
            b_kind.suffixes().iter().any(|b| {
                let (long_suffix, short_suffix) = if a_base.len() > b_base.len() {
                    (a, b)
                } else {
                    (b, a)
                };
                short_suffix.strip_prefix(rest) == Some(long_suffix)
            })
        })
    })
}

// Many names and no unsafe code: Miri would take hours.
#[cfg(all(test, not(miri)))]
mod tests {
    use std::collections::BTreeSet;

    use crate::snapshot::clash_index::ClashIndex;
    use crate::snapshot::{GaugeMode, Meta, Values};

    use super::*;

    fn family(name: &str, kind: Kind, utf8: bool) -> Family {
        let mut meta = Meta::new(name, "", kind, GaugeMode::default());
        meta.utf8 = utf8;
        Family::new(meta, Values::Gauge(Vec::new()))
    }

    /// The families that the look-up by name examines are the only ones that can conflict.
    #[test]
    fn who_clashes_is_found_by_name() {
        let kinds = [
            Kind::Counter,
            Kind::Gauge,
            Kind::Info,
            Kind::Summary,
            Kind::Histogram,
            Kind::GaugeHistogram,
        ];
        // The suffixes that kinds write, rather than those that the look-up searches for.
        let ends = kinds.iter().flat_map(|kind| kind.suffixes());
        let ends: BTreeSet<_> = ends.chain(&["", "_sum_total", "_sums"]).collect();
        let names: Vec<_> = ["a", "ab", "b"]
            .iter()
            .flat_map(|stem| ends.iter().map(move |end| format!("{stem}{end}")))
            .collect();
        let all: Vec<_> = names
            .iter()
            .flat_map(|name| kinds.map(|kind| family(name, kind, false)))
            .collect();
        for one in &all {
            for other in &all {
                let clash =
                    clash_as_written((one.name(), one.kind()), (other.name(), other.kind()));
                // The families beside it end in `_`, so that none of them conflicts with anything.
                let mut families: Vec<_> = names
                    .iter()
                    .filter(|name| ***name != *other.name())
                    .map(|name| format!("{name}_"))
                    .chain([other.name().to_owned()])
                    .map(|name| {
                        let mut family = other.clone();
                        family.meta.name = name.into();
                        family
                    })
                    .collect();
                families.sort_by(|a, b| a.name().cmp(b.name()));
                let found = clashing(&families, one).map(Family::name);
                assert_eq!(found, clash.then(|| other.name()));
                let mut index = ClashIndex::new(false);
                index.insert(exposed(other), &other);
                assert_eq!(
                    index.clash(exposed(one), |other| exposed(other)).is_some(),
                    clash
                );
            }
        }
    }

    /// The shortcut for names that start differently gives the same result as escaping them.
    #[test]
    fn names_that_clash_may_begin_alike() {
        let names = [
            "a.b",
            "a_b",
            "a_dot_b",
            "a__b",
            "U__a_2e_b",
            "é",
            "_",
            "U__e9_",
            "9.a",
            "_.a",
            "_dot_a",
            ".a",
            ":a",
            "_a",
        ];
        let escaped = |name| {
            Escaping::LOSSY.map(|escaping| {
                let mut out = String::new();
                escaping.name(name, &mut out);
                out
            })
        };
        let (mut clashing, mut different) = (0, 0);
        for a in names {
            for b in names {
                let mut pairs = escaped(a).into_iter().zip(escaped(b));
                let same = pairs.any(|(a, b)| a == b);
                assert_eq!(
                    clash((a, Kind::Gauge, true), (b, Kind::Gauge, true)),
                    same,
                    "{a} {b}"
                );
                let [one, other] = [a, b].map(|name| family(name, Kind::Gauge, true));
                let mut index = ClashIndex::new(true);
                index.insert(exposed(&other), &&other);
                assert_eq!(
                    index.clash(exposed(&one), |other| exposed(other)).is_some(),
                    same,
                    "{a} {b}"
                );
                clashing += usize::from(same && a != b);
                different += usize::from(!may_begin_alike(a, b));
            }
        }
        assert!(clashing > 0 && different > 0);
    }
}
