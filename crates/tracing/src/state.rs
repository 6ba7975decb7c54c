//! The state of a span, in its extensions. The registry of `tracing-subscriber` frees it with the
//! span.
//!
//! A subscriber may have several layers of this crate. They share one extension, because
//! extensions are found by type, and each finds its own state in it by the number of the layer.

use std::mem;

use crate::cover::Cover;
use crate::fields::FieldValues;
use crate::trace::TraceState;

/// The number of a layer. 0 is none.
pub(crate) type LayerNumber = u64;

/// The knowledge of one layer about an open span.
#[derive(Debug, Default)]
pub(crate) struct SpanState {
    /// The layer that this state belongs to; 0 after the span was closed.
    pub(crate) layer: LayerNumber,
    /// The time of creation.
    pub(crate) started: u64,
    /// The time covered by measured children.
    pub(crate) children: Cover,
    /// The time in which at least one thread was inside.
    pub(crate) inside: Cover,
    pub(crate) trace: TraceState,
    /// Values of the fields that are labels. `None` if the span has none of these fields.
    pub(crate) values: Option<Box<FieldValues>>,
}

/// The states of a span: one per layer. Nearly always there is one.
#[derive(Debug)]
pub(crate) struct SpanStates {
    first: SpanState,
    others: Vec<SpanState>,
}

impl SpanStates {
    pub(crate) fn new(first: SpanState) -> Self {
        Self {
            first,
            others: Vec::new(),
        }
    }

    /// Adds the state of another layer.
    pub(crate) fn add(&mut self, state: SpanState) {
        match self.of(state.layer) {
            Some(old) => *old = state,
            None => self.others.push(state),
        }
    }

    /// Returns the state of a layer, unless it was taken.
    #[inline]
    pub(crate) fn of(&mut self, layer: LayerNumber) -> Option<&mut SpanState> {
        if self.first.layer == layer {
            return Some(&mut self.first);
        }
        self.others.iter_mut().find(|state| state.layer == layer)
    }

    /// Takes the state of a layer. A span that is closed twice has none the second time.
    #[inline]
    pub(crate) fn take(&mut self, layer: LayerNumber) -> Option<SpanState> {
        self.of(layer).map(mem::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The crate's page says this.
    #[test]
    fn the_extension_has_about_170_bytes() {
        let bytes = mem::size_of::<SpanStates>();
        assert!((150..=190).contains(&bytes), "{bytes}");
    }
}
