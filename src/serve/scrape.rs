//! From a request to a page: one pass for all who asked before it began, each format and coding of it written once,
//! into memory that is used again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::encode::{Escaping, Format, Options};
use crate::snapshot::{Family, Gathered, Source};
use crate::sync::Passes;

use super::coding::Coding;

/// Free pages, and free rounds, that are kept for the next scrapes.
const SPARE: usize = 2;

/// Which page.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) format: Format,
    pub(super) coding: Coding,
    /// Only families of these names, where there are any.
    pub(super) names: Option<Vec<String>>,
}

impl Wanted {
    /// By its name or that of one of its samples, in any format; also as escaped for who knows no UTF-8 names.
    fn wants(&self, family: &Family) -> bool {
        let Some(names) = &self.names else {
            return true;
        };
        let kind = family.kind();
        let mut escaped = String::new();
        Escaping::Underscores.name(family.name(), &mut escaped);
        [family.name(), &escaped].iter().any(|known| {
            let stem = kind.stem(known);
            let mut rests = names.iter().filter_map(|name| name.strip_prefix(stem));
            rests.any(|rest| kind.suffixes().contains(&rest))
        })
    }
}

/// Renders pages of some registries.
pub(super) struct Scraper {
    sources: Vec<Arc<dyn Source>>,
    options: Options,
    passes: Passes<Arc<Round>>,
    memory: Mutex<Memory>,
}

/// What one pass found, and the pages that were made of it.
#[derive(Default)]
struct Round {
    found: Gathered,
    pages: Mutex<Vec<Made>>,
}

type Made = (Format, Coding, Arc<Vec<u8>>);

/// What earlier scrapes leave for the next: what nobody else holds any more is written over.
#[derive(Default)]
struct Memory {
    rounds: Vec<Arc<Round>>,
    pages: Vec<Arc<Vec<u8>>>,
}

impl Scraper {
    pub(super) fn new(sources: Vec<Arc<dyn Source>>, options: Options) -> Self {
        Self {
            sources,
            options,
            passes: Passes::new(),
            memory: Mutex::default(),
        }
    }

    /// A page that has every update that returned before this call; `None` for a collector that asks for the page that it
    /// is a part of. Blocks: for a thread that may.
    pub(super) fn page(&self, wanted: &Wanted) -> Option<Arc<Vec<u8>>> {
        let round = self.passes.share(|| {
            let mut round = spare(&mut lock(&self.memory).rounds);
            if let Some(round) = Arc::get_mut(&mut round) {
                round.take(&self.sources);
            }
            lock(&self.memory).rounds.push(Arc::clone(&round));
            round
        })?;
        let render = |out: &mut Vec<u8>| {
            let families = round.found.families().filter(|family| wanted.wants(family));
            self.options
                .render_families(families, round.found.taken(), wanted.format, out);
        };
        if wanted.names.is_some() {
            let plain = self.written(render);
            return Some(self.coded(&plain, wanted.coding));
        }
        // While it is written, others who want it wait for it; so do those who want another, which is rare.
        let mut pages = lock(&round.pages);
        let mut page = |coding, make: &dyn Fn() -> Arc<Vec<u8>>| {
            let known = pages
                .iter()
                .find(|(f, c, _)| (*f, *c) == (wanted.format, coding));
            match known {
                Some((_, _, page)) => Arc::clone(page),
                None => {
                    let page = make();
                    pages.push((wanted.format, coding, Arc::clone(&page)));
                    page
                }
            }
        };
        let plain = page(Coding::Identity, &|| self.written(render));
        Some(page(wanted.coding, &|| self.coded(&plain, wanted.coding)))
    }

    fn coded(&self, plain: &Arc<Vec<u8>>, coding: Coding) -> Arc<Vec<u8>> {
        if coding == Coding::Identity {
            return Arc::clone(plain);
        }
        self.written(|out| {
            // Writing to memory does not fail.
            let written = coding.encode(plain, out);
            debug_assert!(written.is_ok(), "{written:?}");
        })
    }

    /// A page that `write` writes, into memory that is used again.
    fn written(&self, write: impl FnOnce(&mut Vec<u8>)) -> Arc<Vec<u8>> {
        let mut page = spare(&mut lock(&self.memory).pages);
        if let Some(bytes) = Arc::get_mut(&mut page) {
            bytes.clear();
            write(bytes);
        }
        lock(&self.memory).pages.push(Arc::clone(&page));
        page
    }
}

impl Round {
    fn take(&mut self, sources: &[Arc<dyn Source>]) {
        self.pages
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.found.take(sources, |error| {
            crate::error::report_once(&format_args!("left out of the page: {error}"));
        });
    }
}

/// One that nobody else holds, or a new one; of further free ones only a few are kept.
fn spare<T: Default>(all: &mut Vec<Arc<T>>) -> Arc<T> {
    let mut free = 0;
    all.retain_mut(|one| {
        free += usize::from(Arc::get_mut(one).is_some());
        free <= SPARE || Arc::get_mut(one).is_none()
    });
    match all.iter_mut().position(|one| Arc::get_mut(one).is_some()) {
        Some(at) => all.swap_remove(at),
        None => Arc::default(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
