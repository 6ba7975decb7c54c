//! The rules, by name.

/// A rule about families.
///
/// ```
/// use tallies_names::Rule;
///
/// assert_eq!(Rule::BaseUnit.name(), "base-unit");
/// assert!(Rule::BaseUnit.is_promlint() && !Rule::Overflow.is_promlint());
/// assert!(Rule::ALL.contains(&Rule::Overflow));
/// ```
///
/// Source: the page "Metric and label naming" of the Prometheus documentation, and promlint of
/// `client_golang`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Rule {
    /// A family has a help text.
    Help,
    /// The name of a family with a unit ends in that unit. Text has no units, and the reader
    /// rejects OpenMetrics 1.0 that breaks this rule, so only OpenMetrics 2.0 and the snapshot of a
    /// registry can break it.
    Unit,
    /// The name of a counter ends in `_total`.
    CounterSuffix,
    /// The name of an info ends in `_info`.
    InfoSuffix,
    /// Only the names of counters end in `_total`.
    TotalSuffix,
    /// Only the names of gauges end in `_timestamp_seconds`.
    TimestampSuffix,
    /// Only the names of histograms end in `_bucket`, and only those of histograms and summaries in
    /// `_count` and `_sum`.
    SampleSuffix,
    /// A name has base units, such as seconds and bytes.
    BaseUnit,
    /// A name has no abbreviated units, such as `ms`.
    UnitAbbreviation,
    /// A name does not have the kind of the family as a word.
    KindInName,
    /// A name has no colon.
    Colon,
    /// Names of metrics and labels are in snake case.
    SnakeCase,
    /// Only histograms have the label `le`, and only summaries the label `quantile`.
    ReservedLabel,
    /// No label begins with two underscores.
    LabelUnderscores,
    /// A name does not end in `_by_` and the name of a label.
    LabelInName,
    /// A family has at most 10 000 series.
    TooManySeries,
    /// No series were counted in the overflow series.
    Overflow,
    /// No two families have samples of the same name, in any format.
    SharedSamples,
}

/// Each rule with its name, and whether promlint has it.
const RULES: [(Rule, &str, bool); 18] = [
    (Rule::Help, "help", true),
    (Rule::Unit, "unit", false),
    (Rule::CounterSuffix, "counter-suffix", true),
    (Rule::InfoSuffix, "info-suffix", false),
    (Rule::TotalSuffix, "total-suffix", true),
    (Rule::TimestampSuffix, "timestamp-suffix", true),
    (Rule::SampleSuffix, "sample-suffix", true),
    (Rule::BaseUnit, "base-unit", true),
    (Rule::UnitAbbreviation, "unit-abbreviation", true),
    (Rule::KindInName, "kind-in-name", true),
    (Rule::Colon, "colon", true),
    (Rule::SnakeCase, "snake-case", true),
    (Rule::ReservedLabel, "reserved-label", true),
    (Rule::LabelUnderscores, "label-underscores", false),
    (Rule::LabelInName, "label-in-name", false),
    (Rule::TooManySeries, "too-many-series", false),
    (Rule::Overflow, "overflow", false),
    (Rule::SharedSamples, "shared-samples", false),
];

impl Rule {
    /// All rules, in the order of the page that explains them.
    pub const ALL: &'static [Self] = &{
        let mut all = [Self::Help; RULES.len()];
        let mut i = 0;
        while i < all.len() {
            all[i] = RULES[i].0;
            i += 1;
        }
        all
    };

    /// Returns the name of the rule, for output that programs read.
    #[must_use]
    pub fn name(self) -> &'static str {
        RULES[self as usize].1
    }

    /// Returns whether the rule is one of promlint, which `promtool check metrics` runs.
    #[must_use]
    pub fn is_promlint(self) -> bool {
        RULES[self as usize].2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_the_order_of_the_rules() {
        let mut sorted = Rule::ALL.to_vec();
        sorted.sort();
        assert_eq!(Rule::ALL, sorted);
        assert_eq!(Rule::SharedSamples as usize + 1, RULES.len());
    }
}
