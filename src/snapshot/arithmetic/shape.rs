//! The shape of a family: which families can be merged or subtracted, and why others cannot.

use crate::error::Error;
use crate::snapshot::{Difference, Family, Kind, Values};

impl Family {
    /// Checks that the series of `theirs`, a family of the same name, can be added to this family.
    pub(crate) fn check_mergeable(&self, theirs: &Self) -> Result<(), Error> {
        let name = theirs.name();
        let is_from_page = |family: &Self| matches!(family.values, Values::PageSummary(_));
        if !self.same_kind(theirs) {
            Err(self.other_kind(theirs))
        } else if self.is_shapeless() || theirs.is_shapeless() {
            Ok(())
        } else if is_from_page(self) || is_from_page(theirs) {
            Err(Error::other(format_args!(
                "summary `{name}` was read from a page: its quantiles cannot be merged without the \
                 observations behind them"
            )))
        } else if let Some(difference) = self.values.difference(&theirs.values) {
            Err(Error::other(format_args!(
                "family `{name}` has {} in the snapshot to merge{}",
                difference.property,
                difference.values("here", "there")
            )))
        } else {
            Ok(())
        }
    }

    /// Checks that both have the same kind. Unlike [`check_mergeable`](Self::check_mergeable),
    /// which takes a gauge of a page in the text format for what it may be, it tells a gauge from
    /// an info.
    pub(crate) fn check_kind(&self, theirs: &Self) -> Result<(), Error> {
        match self.kind() == theirs.kind() {
            true => Ok(()),
            false => Err(self.other_kind(theirs)),
        }
    }

    fn other_kind(&self, theirs: &Self) -> Error {
        Error::other(format_args!(
            "family `{}` is {} here and {} in the snapshot to merge",
            self.name(),
            self.kind().with_article(),
            theirs.kind().with_article()
        ))
    }

    /// Returns whether both have the same kind, as far as the text format distinguishes kinds.
    fn same_kind(&self, other: &Self) -> bool {
        self.meta.kind.as_text() == other.meta.kind.as_text()
    }

    /// Returns whether the family was read from a page and has no series. Such a page does not
    /// contain the buckets and quantiles of the family.
    pub(in crate::snapshot) fn is_shapeless(&self) -> bool {
        let is_unknown = match &self.values {
            Values::Histogram(all) => all.bounds.is_empty() && all.natives.is_none(),
            values => matches!(values, Values::PageSummary(_)),
        };
        is_unknown && self.is_empty()
    }

    /// Returns whether this family can be subtracted from `now`. For summaries, count and sum
    /// suffice.
    pub(super) fn is_subtractable_from(&self, now: &Self) -> bool {
        self.same_kind(now)
            && (self.meta.kind == Kind::Summary || self.values.same_shape(&now.values))
    }
}

impl Values {
    /// Returns whether both are of one kind, with the same buckets, or the same objectives and
    /// window.
    pub(in crate::snapshot) fn same_shape(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && self.difference(other).is_none()
    }

    /// Returns a property in which the shapes of values of one kind differ.
    fn difference(&self, theirs: &Self) -> Option<Difference> {
        Some(match (self, theirs) {
            (Self::Histogram(ours), Self::Histogram(theirs)) if ours.bounds != theirs.bounds => {
                Difference::buckets(Some(&ours.bounds), Some(&theirs.bounds))
            }
            (Self::Histogram(ours), Self::Histogram(theirs)) => {
                Difference::in_property(match (ours.natives.is_some(), theirs.natives.is_some()) {
                    (true, false) => "no native buckets",
                    (false, true) => "native buckets, and this one has none,",
                    _ => return None,
                })
            }
            (Self::Summary(ours, _), Self::Summary(theirs, _))
                if ours.targets != theirs.targets =>
            {
                Difference::objectives(&ours.targets, &theirs.targets)
            }
            (Self::Summary(ours, _), Self::Summary(theirs, _))
                if ours.max_age != theirs.max_age =>
            {
                Difference::window(ours.max_age, theirs.max_age)
            }
            _ => return None,
        })
    }
}
