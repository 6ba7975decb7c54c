//! The entry of a family in a registry, which equal declarations share.

use std::sync::{Arc, OnceLock};

use crate::error::{Error, NameRule, Subject};
use crate::family::AnyFamily;
use crate::family::desc::{Desc, Names};
use crate::snapshot::catalogue::{Declared, Label};
use crate::snapshot::{self, Difference, GaugeMode, Kind, Meta, Text, labels};

/// A family. Equal declarations of it share its entry.
pub(in crate::registry) struct FamilyEntry {
    /// The changed description, if the family was described after it was declared.
    pub(super) changed: Option<Box<Desc>>,
    /// The families of the equal declarations, at least one. A scrape adds them up.
    pub(in crate::registry) duplicates: Vec<Arc<dyn AnyFamily>>,
    /// The family of a snapshot, without series. Made by the first scrape, because constant labels
    /// cannot change any more.
    pub(super) empty: OnceLock<snapshot::Family>,
}

impl FamilyEntry {
    /// Returns the description that scrapes use.
    pub(in crate::registry) fn desc(&self) -> &Desc {
        match &self.changed {
            Some(desc) => desc,
            None => self.duplicates[0].desc(),
        }
    }

    /// Returns the entry of the same families with another changed description.
    pub(super) fn with_desc(&self, changed: Option<Box<Desc>>) -> Self {
        Self {
            changed,
            duplicates: self.duplicates.clone(),
            empty: OnceLock::new(),
        }
    }

    /// Returns whether `desc` declares this family, as it was declared first or as described since.
    pub(super) fn is_same_family(&self, desc: &Desc) -> bool {
        self.duplicates[0].desc().is_same_family(desc) || self.desc().is_same_family(desc)
    }

    /// Returns a property in which `desc` differs from this family, the help text aside.
    pub(super) fn difference(&self, desc: &Desc) -> Option<Difference> {
        self.desc()
            .difference(desc)
            .filter(|_| !self.is_same_family(desc))
    }

    /// Returns whether the help text of `desc` fits. Two statics of the same name with different
    /// help texts are hardly the same family. An empty help text fits any other.
    pub(super) fn help_fits(&self, desc: &Desc) -> bool {
        let helps = [&*self.duplicates[0].desc().help, &self.desc().help, ""];
        helps.contains(&&*desc.help) || self.desc().help.is_empty()
    }

    /// Hides the families from other processes.
    pub(in crate::registry) fn unpublish(&self) {
        self.duplicates.iter().for_each(|family| family.unpublish());
    }

    /// Returns the family as the catalogue lists it.
    pub(in crate::registry) fn declared(
        &self,
        prefix: &str,
        constant: &[(Text, Text)],
    ) -> Declared {
        let desc = self.desc();
        let family = &self.duplicates[0];
        let declared = desc.declared_labels().fixed();
        let values = |name: &str| {
            let at = declared.iter().position(|declared| *declared == name);
            let values = at.and_then(|at| desc.closed.values(at)).unwrap_or_default();
            values.iter().map(|value| (*value).to_owned()).collect()
        };
        let view = desc.view.as_deref();
        let combined = view.and_then(|view| view.combined.as_ref());
        let drops = |name: &str| {
            combined.is_some_and(|(names, _)| names.iter().any(|other| **other == *name))
        };
        let label = |name: &&str| Label::new((*name).to_owned(), values(name));
        let fixed = desc.labels.fixed().iter();
        let mut labels: Vec<_> = fixed.filter(|name| !drops(name)).map(label).collect();
        let meta = meta(desc, prefix, constant);
        let states = desc.states;
        if !states.is_empty() {
            let states = states.iter().map(|state| (*state).to_owned());
            labels.push(Label::new(meta.name.to_string(), states.collect()));
        }
        let is_gone = |name: &&&str| labels.iter().all(|label| label.name != ***name);
        let dropped = declared.iter().filter(is_gone);
        let dropped = dropped.map(|name| (*name).to_owned()).collect();
        let is_summary = desc.kind == Kind::Summary;
        let targets = is_summary.then(|| desc.targets.as_slice());
        Declared {
            any_labels: desc.labels == Names::Any,
            dropped,
            schema: desc.native.map(|native| native.schema),
            objectives: targets.unwrap_or_default().to_vec(),
            window: desc.max_age.filter(|_| is_summary),
            limit: family.limit(),
            off: desc.is_off(),
            krate: desc.krate().map(str::to_owned),
            ..Declared::new(&meta, &family.values(), labels, desc.location)
        }
    }

    /// Checks that a constant label of the registry, which has this prefix, is not a label of the
    /// family.
    pub(super) fn check_constant(&self, prefix: &str, name: &str) -> Result<(), Error> {
        let desc = self.desc();
        if desc.kind == Kind::StateSet && name.strip_prefix(prefix) == Some(&desc.name) {
            return Err(NameRule::States.error(Subject::Label(&desc.name), name));
        }
        desc.check_label(name)
            .map_err(|rule| rule.error(Subject::Label(&desc.name), name))?;
        if desc.labels.fixed().contains(&name) || desc.constant.names().any(|other| other == name) {
            return Err(NameRule::Constant.error(Subject::Label(&desc.name), name));
        }
        let names = desc.labels.fixed().iter().copied();
        desc.check_escaped(names.chain(desc.constant.names()).chain([name]))
    }
}

/// Returns the name of a family with the prefix of a registry.
pub(super) fn exposed(desc: &Desc, prefix: &str) -> Text {
    if prefix.is_empty() {
        desc.name.clone()
    } else {
        format!("{prefix}{}", desc.name).into()
    }
}

/// Builds the description of a family as a snapshot has it.
pub(crate) fn meta(desc: &Desc, prefix: &str, constant: &[(Text, Text)]) -> Meta {
    let constant = constant.iter().map(|(name, value)| (&**name, &**value));
    let mut text = String::new();
    for (name, value) in constant.chain(desc.constant.iter()) {
        labels::push(&mut text, name, value);
    }
    Meta {
        name: exposed(desc, prefix),
        help: desc.help.clone(),
        unit: desc.unit.clone(),
        kind: desc.kind,
        mode: desc.mode.unwrap_or(GaugeMode::of(desc.kind)),
        shared_ttl: desc.shared_ttl,
        utf8: desc.utf8,
        constant: text.into(),
    }
}
