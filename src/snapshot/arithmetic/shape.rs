//! The shape of a family: which families can be merged or subtracted, and why others cannot.

use crate::error::Error;
use crate::snapshot::{Difference, Family, Kind, Values};

impl Family {
    /// Checks that the series of `theirs`, a family of the same name, can be added to this family.
    pub(crate) fn check_mergeable(&self, theirs: &Self) -> Result<(), Error> {
        if self.same_kind(theirs) && (self.is_shapeless() || theirs.is_shapeless()) {
            return Ok(());
        }
        let is_from_page = |family: &Self| matches!(family.values, Values::PageSummary(_));
        if self.meta.kind == theirs.meta.kind && (is_from_page(self) || is_from_page(theirs)) {
            return Err(Error::other(format_args!(
                "summary `{}` was read from a page: its quantiles cannot be merged without the \
                 observations behind them",
                theirs.name()
            )));
        }
        if self.same_shape(theirs) {
            return Ok(());
        }
        let name = theirs.name();
        Err(match self.difference(theirs) {
            None => Error::other(format_args!(
                "family `{name}` is {} here and {} in the snapshot to merge",
                self.kind().with_article(),
                theirs.kind().with_article()
            )),
            Some(difference) => Error::other(format_args!(
                "family `{name}` has {} in the snapshot to merge{}",
                difference.property,
                difference.values("here", "there")
            )),
        })
    }

    /// Returns why the shapes of two families of one kind differ.
    fn difference(&self, theirs: &Self) -> Option<Difference> {
        Some(match (&self.values, &theirs.values) {
            (Values::Histogram { bounds: ours, .. }, Values::Histogram { bounds: theirs, .. })
                if ours != theirs =>
            {
                Difference::buckets(Some(ours), Some(theirs))
            }
            (
                Values::Summary { targets: ours, .. },
                Values::Summary {
                    targets: theirs, ..
                },
            ) if ours != theirs => Difference::objectives(ours, theirs),
            (
                Values::Summary { max_age: ours, .. },
                Values::Summary {
                    max_age: theirs, ..
                },
            ) if ours != theirs => Difference::window(*ours, *theirs),
            (Values::Histogram { natives, .. }, Values::Histogram { .. }) => {
                Difference::only_one_native(natives.is_some())
            }
            _ => return None,
        })
    }

    pub(crate) fn same_shape(&self, other: &Self) -> bool {
        self.same_kind(other) && self.values.same_shape(&other.values)
    }

    /// Returns whether both have the same kind, as far as the text format distinguishes kinds.
    fn same_kind(&self, other: &Self) -> bool {
        self.meta.kind.as_text() == other.meta.kind.as_text()
    }

    /// Returns whether the family was read from a page and has no series. Such a page does not
    /// contain the buckets and quantiles of the family.
    pub(super) fn is_shapeless(&self) -> bool {
        let is_unknown = match &self.values {
            Values::Histogram {
                bounds, natives, ..
            } => bounds.is_empty() && natives.is_none(),
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
        match (self, other) {
            (
                Values::Histogram {
                    bounds: ours,
                    natives: our_natives,
                    ..
                },
                Values::Histogram {
                    bounds: theirs,
                    natives: their_natives,
                    ..
                },
            ) => ours == theirs && our_natives.is_some() == their_natives.is_some(),
            (Values::Counter(_), Values::Counter(_))
            | (Values::Gauge(_), Values::Gauge(_))
            | (Values::PageSummary(_), Values::PageSummary(_)) => true,
            (
                Values::Summary {
                    targets: ours,
                    max_age: our_age,
                    ..
                },
                Values::Summary {
                    targets: theirs,
                    max_age: their_age,
                    ..
                },
            ) => ours == theirs && our_age == their_age,
            _ => false,
        }
    }
}
