//! Constant labels: gives them to the families of collectors, and moves them into the label texts
//! of series.

use crate::snapshot::{Family, GaugeMode, Text, labels};

impl Family {
    /// Gives a collector's family the prefix and the constant labels of its registry. A label that
    /// the collector wrote itself keeps its value.
    pub(crate) fn add_common(&mut self, prefix: &str, constant: &str) {
        if !prefix.is_empty() {
            self.meta.name = format!("{prefix}{}", self.meta.name).into();
        }
        if !constant.is_empty() {
            self.meta.constant = constant.into();
            self.override_constant_labels();
        }
    }

    /// Drops labels. Series that become equal are added up, gauges by `rule`.
    pub(crate) fn drop_labels(&mut self, names: &[String], rule: GaugeMode) {
        let drops = |name: &str| names.iter().any(|dropped| dropped == name);
        let loses = |text| labels::parts(text).any(|(name, _)| drops(name));
        if !self.texts.iter().any(loses) {
            return;
        }
        let mode = std::mem::replace(&mut self.meta.mode, rule);
        self.relabel(&|own| without(own, &drops));
        self.meta.mode = mode;
    }

    /// Resolves labels that a series has in addition to a constant label of the same name: the
    /// series' own value wins. Series that become equal are added up.
    pub(crate) fn override_constant_labels(&mut self) {
        let constant = self.meta.constant.clone();
        let has = |text: &str, name: &str| labels::parts(text).any(|(other, _)| other == name);
        let wins = |text| labels::parts(text).any(|(name, _)| has(&constant, name));
        if !self.texts.iter().any(wins) {
            return;
        }
        self.meta.constant = Text::EMPTY;
        self.relabel(&|own| {
            let constant = without(&constant, &|name| has(own, name));
            labels::ordered(&labels::joined(&constant, own)).into_owned()
        });
    }

    /// Replaces the label text of each series. Series that become equal are added up.
    fn relabel(&mut self, text: &dyn Fn(&str) -> String) {
        let mut all = std::mem::replace(self, self.to_empty());
        all.rename_series(text);
        self.add(&all);
    }

    /// Replaces the label text of each series. Series that become equal stay apart.
    pub(crate) fn rename_series(&mut self, text: &dyn Fn(&str) -> String) {
        self.texts = self.texts.relabelled(text);
        self.removed.relabel(text);
    }

    /// Moves the constant labels into the text of every series, so that families with different
    /// constant labels can be combined.
    pub(crate) fn inline_constant_labels(&mut self) {
        let constant = std::mem::take(&mut self.meta.constant);
        if !constant.is_empty() {
            self.rename_series(&|own| labels::joined(&constant, own));
        }
    }
}

/// Returns a label text without the labels whose names `drops`.
fn without(text: &str, drops: &dyn Fn(&str) -> bool) -> String {
    let left: Vec<_> = labels::pairs(text)
        .filter(|(name, _)| !drops(name))
        .collect();
    labels::text_of(left.iter().map(|(name, value)| (*name, &**value)))
}
