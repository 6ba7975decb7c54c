//! The label texts of series: set when a series becomes live, cleared when it leaves its family.

use std::sync::atomic::Ordering::Relaxed;

use crate::lockfree::LabelledRun;

use super::{Family, Label, MetricCells, Series};

impl<C: MetricCells> Family<C> {
    /// Makes a series live under this label text.
    pub(super) fn open(&self, index: usize, text: &str) {
        if let Some((run, index)) = self.arena.run_of(index) {
            self.open_text(run, index, text);
        }
    }

    /// As [`open`](Self::open), for a series of this run.
    pub(super) fn open_text(&self, run: &LabelledRun<C, Label>, index: usize, text: &str) {
        let Some(series) = Series::new(run, index) else {
            return;
        };
        // Not before the family, even if the clock was set back: what counted before the overflow
        // series began was cleared.
        let created = crate::clock::millis().max(self.created.load(Relaxed));
        series.text.set(text, created);
        Self::publish_text(run, index, text, created);
    }

    /// Removes the label text of a series that is not live any more.
    pub(super) fn close_text(run: &LabelledRun<C, Label>, index: usize) {
        if let Some(series) = Series::new(run, index) {
            series.text.clear();
        }
        Self::unpublish_text(run, index);
    }
}
