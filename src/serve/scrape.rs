//! From a request to a page: one pass for all who asked before it began, into memory that is used again.

use std::sync::{Arc, Mutex, PoisonError};

use crate::encode;
use crate::snapshot::{Snapshot, Source};
use crate::sync::Passes;

/// Renders pages of one server.
pub(super) struct Scraper {
    sources: Vec<Arc<dyn Source>>,
    passes: Passes<Arc<Vec<u8>>>,
    memory: Mutex<Memory>,
}

/// What the last scrape leaves for the next.
#[derive(Default)]
struct Memory {
    snapshots: Vec<Snapshot>,
    /// Pages; one that nobody sends any more is written over.
    pages: Vec<Arc<Vec<u8>>>,
}

impl Scraper {
    pub(super) fn new(sources: Vec<Arc<dyn Source>>) -> Self {
        Self {
            sources,
            passes: Passes::new(),
            memory: Mutex::default(),
        }
    }

    /// A page that has every update that returned before this call. Blocks: for a thread that may.
    pub(super) fn page(&self) -> Arc<Vec<u8>> {
        self.passes.share(|| {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.render(&self.sources)
        })
    }
}

impl Memory {
    fn render(&mut self, sources: &[Arc<dyn Source>]) -> Arc<Vec<u8>> {
        self.snapshots.resize_with(sources.len(), Snapshot::default);
        for (source, snapshot) in sources.iter().zip(&mut self.snapshots) {
            source.snapshot_into(snapshot);
        }
        let mut page = self.spare();
        if let Some(bytes) = Arc::get_mut(&mut page) {
            bytes.clear();
            match &*self.snapshots {
                [only] => encode::text_into(only, bytes),
                all => encode::text_into(&joined(all), bytes),
            }
        }
        self.pages.push(Arc::clone(&page));
        page
    }

    /// A page that nobody holds any more, or a new one.
    fn spare(&mut self) -> Arc<Vec<u8>> {
        let free = self
            .pages
            .iter_mut()
            .position(|page| Arc::get_mut(page).is_some());
        match free {
            Some(at) => self.pages.swap_remove(at),
            None => Arc::default(),
        }
    }
}

/// Several registries as one; a family that does not fit the first one of its name is left out.
fn joined(snapshots: &[Snapshot]) -> Snapshot {
    let mut all = Snapshot::default();
    for snapshot in snapshots {
        if let Err(error) = all.merge(snapshot) {
            crate::error::report_once(&error);
        }
    }
    all
}
