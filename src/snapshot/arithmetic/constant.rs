//! Constant labels: gives them to the families of collectors, and moves them into the label texts
//! of series.

use std::collections::BTreeMap;

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
    pub(crate) fn drop_labels(&mut self, names: &[impl AsRef<str>], rule: GaugeMode) {
        let drops = |name: &str| names.iter().any(|dropped| dropped.as_ref() == name);
        let loses = |text| labels::parts(text).any(|(name, _)| drops(name));
        if !self.texts.iter().any(loses) {
            return;
        }
        let mode = std::mem::replace(&mut self.meta.mode, rule);
        self.relabel(|own| {
            let left = labels::pairs(own).filter(|(name, _)| !drops(name));
            let left: Vec<_> = left.collect();
            labels::text_of(left.iter().map(|(name, value)| (*name, &**value)))
        });
        self.meta.mode = mode;
    }

    /// Resolves labels that a series has in addition to a constant label of the same name: the
    /// series' own value wins. Series that become equal are added up.
    pub(crate) fn override_constant_labels(&mut self) {
        let constant = self.meta.constant.clone();
        let names: Vec<_> = labels::pairs(&constant).map(|(name, _)| name).collect();
        let wins = |text| labels::pairs(text).any(|(name, _)| names.contains(&name));
        if !self.texts.iter().any(wins) {
            return;
        }
        self.meta.constant = Text::EMPTY;
        self.relabel(|own| {
            let set: BTreeMap<_, _> = labels::pairs(&constant).chain(labels::pairs(own)).collect();
            labels::text_of(set.iter().map(|(name, value)| (*name, &**value)))
        });
    }

    /// Replaces the label text of each series. Series that become equal are added up.
    fn relabel(&mut self, text: impl Fn(&str) -> String) {
        let mut all = std::mem::replace(self, self.to_empty());
        all.texts = all.texts.relabelled(&text);
        all.removed.relabel(text);
        self.add(&all);
    }

    /// Moves the constant labels into the text of every series, so that families with different
    /// constant labels can be combined.
    pub(crate) fn inline_constant_labels(&mut self) {
        let constant = std::mem::take(&mut self.meta.constant);
        if constant.is_empty() {
            return;
        }
        let texts = &self.texts;
        self.texts = texts.relabelled(|own| labels::joined(&constant, own));
        self.removed.inline(&constant);
    }
}
