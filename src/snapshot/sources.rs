//! The sources that a server or a pusher reads: a default one, until the user adds others.

use std::sync::Arc;

use super::Source;

/// The sources of one page or push.
#[derive(Clone)]
pub(crate) struct Sources {
    default: Arc<dyn Source>,
    added: Vec<Arc<dyn Source>>,
}

impl Sources {
    /// Creates a list of a default source, which the first [`add`](Self::add) replaces.
    pub(crate) fn new(default: Arc<dyn Source>) -> Self {
        let added = Vec::new();
        Self { default, added }
    }

    /// Adds a registry, or another source.
    pub(crate) fn add<S: Source + Clone + 'static>(&mut self, source: &S) {
        self.added.push(Arc::new(source.clone()));
    }

    /// Returns the sources, in the order in which they were added.
    pub(crate) fn all(&self) -> &[Arc<dyn Source>] {
        match &*self.added {
            [] => std::slice::from_ref(&self.default),
            added => added,
        }
    }
}
