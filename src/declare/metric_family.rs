//! The family of a metric: look-ups by labels, reading and removal. Every metric type has one. Its
//! public methods forward to it, and [`metric!`](super::metric) documents them.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::error::Error;
use crate::family::MetricCells;
use crate::family::desc::{ClosedSet, Desc, Names, in_order};
use crate::family::label::LabelSet;
use crate::snapshot::labels;

use super::builder::Metric;
use super::declaration::{BoundSeries, Declaration};
use super::deferred::{Deferred, LabelsOf, TextCopies};
use super::lazy_ref::LazyRef;
use super::series::{Bound, Series};

/// The series of a metric, by their labels. `C` is the type of the cells, `M` the type of the
/// metric without labels, such as `Counter`, and `L` the type of the label sets.
///
/// `M` determines `C`, by a bound. The struct has none, so that `StateSet<T>` needs none for `T`.
pub(crate) struct MetricFamily<C: MetricCells, M, L> {
    pub(crate) declaration: Declaration<C>,
    /// Makes the type invariant in `M`. Otherwise a state set would not use the type of its states.
    types: PhantomData<fn(M, L) -> M>,
}

impl<M: Metric, L> MetricFamily<M::Cells, M, L> {
    pub(super) const fn new(declaration: Declaration<M::Cells>) -> Self {
        let types = PhantomData;
        Self { declaration, types }
    }

    /// Declares a metric in a `static`.
    #[track_caller]
    pub(super) const fn declare(name: &'static str, labels: Names, utf8: bool) -> Self
    where
        L: LabelSet,
    {
        let mut desc = Desc::checked(name, M::KIND, labels, utf8);
        desc.closed = ClosedSet::of::<L>();
        desc.states = M::STATES;
        Self::new(Declaration::new(desc))
    }

    /// Returns the only series of a metric without labels. Makes the family if needed.
    pub(super) fn only(&self) -> Series<'_, M> {
        Series::of(self.declaration.family().only())
    }

    /// Returns a series by label names, in any order.
    pub(super) fn named(&self, labels: &[(&str, &str)]) -> Result<Series<'_, M>, Error> {
        let texts = in_order(&self.declaration.desc, labels)?;
        Ok(Series::of(self.declaration.family().with(&texts)))
    }
}

impl<M: Metric, L: LabelSet> MetricFamily<M::Cells, M, L> {
    /// The number of combinations of a closed label set, which all have a series from the start.
    /// Else 0.
    const COMBINATIONS: usize = if M::HAS_ALL_COMBINATIONS { L::DENSE } else { 0 };

    /// Makes the family and, for a closed label set, all its series.
    pub(super) fn enlist(&self) {
        let family = self.declaration.family();
        if Self::COMBINATIONS > 0 {
            family.make_combinations();
        }
    }

    #[inline]
    fn look_up(&self, labels: &L::Borrowed<'_>) -> LazyRef<'_, M::Cells> {
        if Self::COMBINATIONS == 0 {
            L::with_texts(labels, |texts| self.declaration.family().with(texts)).into()
        } else {
            self.declaration
                .combination(L::dense_index(labels), Self::COMBINATIONS)
        }
    }

    #[inline]
    pub(super) fn with(&self, labels: L::Borrowed<'_>) -> Series<'_, M> {
        let lazy_ref = self.look_up(&labels);
        Series { lazy_ref }
    }

    /// Copies a label set to `texts`, for attributes, because the body of the function may move the
    /// arguments that the values come from.
    #[inline]
    pub(super) fn defer<'a>(
        &'a self,
        labels: L::Borrowed<'_>,
        texts: &'a mut TextCopies,
    ) -> Deferred<'a, M> {
        if Self::COMBINATIONS > 0 {
            return Deferred(LabelsOf::Closed(self.with(labels)));
        }
        L::with_texts(&labels, |labels| texts.set(labels));
        let declaration = &self.declaration;
        Deferred(LabelsOf::Open { declaration, texts })
    }

    pub(super) fn bind(&self, labels: L::Borrowed<'_>) -> Bound<M> {
        self.enlist();
        let family = Arc::clone(self.declaration.family());
        let bound = BoundSeries::new::<L>(family, &labels);
        Bound { bound }
    }

    pub(super) fn find(&self, labels: L::Borrowed<'_>) -> Option<Series<'_, M>> {
        self.enlist();
        let family = self.declaration.family();
        L::with_texts(&labels, |texts| family.find(texts)).map(Series::of)
    }

    #[expect(
        clippy::type_complexity,
        reason = "a name for it would hide what it is"
    )]
    pub(super) fn get_all(&self) -> Vec<(Vec<(String, String)>, M::Value)> {
        self.enlist();
        let family = self.declaration.family();
        let totals = family.totals().into_iter();
        totals
            .map(|(labels, total)| (labels, M::value(&family.desc, total)))
            .collect()
    }

    pub(super) fn shares(&self, labels: L::Borrowed<'_>) -> bool {
        let view = self.declaration.family().desc.changing_view();
        view.is_some_and(|view| L::with_texts(&labels, |texts| view.shares(texts)))
    }

    pub(super) fn check(&self, labels: L::Borrowed<'_>) -> Result<(), Error> {
        let desc = &self.declaration.family().desc;
        L::with_texts(&labels, |texts| desc.own_text(texts).map(drop))
    }

    /// Removes (`removed`) or retires the series of an open label set.
    pub(super) fn end(&self, labels: L::Borrowed<'_>, removed: bool) -> bool {
        let family = self.declaration.family();
        Self::COMBINATIONS == 0 && L::with_texts(&labels, |texts| family.retire(texts, removed))
    }

    pub(super) fn retain(&self, mut keep: impl FnMut(&[(&str, Cow<'_, str>)]) -> bool) -> usize {
        let family = self.declaration.family();
        family.retain(|text| keep(&labels::pairs(text).collect::<Vec<_>>()))
    }
}
