//! The sources that a server or a pusher reads: a default one, until the user adds others.

use std::sync::Arc;

use super::Source;

/// The sources of one page or push.
#[derive(Clone)]
pub(crate) struct Sources {
    all: Vec<Arc<dyn Source>>,
    /// Whether `all` still holds only the default, which the first `add` replaces.
    uses_default: bool,
}

impl Sources {
    /// Creates a list of a default source, which the first [`add`](Self::add) replaces.
    pub(crate) fn new(default: Arc<dyn Source>) -> Self {
        Self {
            all: vec![default],
            uses_default: true,
        }
    }

    /// Adds a registry, or another source.
    pub(crate) fn add<S: Source + Clone + 'static>(&mut self, source: &S) {
        if std::mem::take(&mut self.uses_default) {
            self.all.clear();
        }
        self.all.push(Arc::new(source.clone()));
    }

    /// Returns the sources, in the order in which they were added.
    pub(crate) fn all(&self) -> &[Arc<dyn Source>] {
        &self.all
    }
}
