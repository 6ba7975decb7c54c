//! Scrapes and rendered pages. All requests that came before a pass began share that pass.
//!
//! Each format and coding of a page is rendered once per pass, into memory that later pages reuse.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::encode::{Escaping, Format, Options};
use crate::snapshot::{Family, MergedView, Source};
use crate::sync::CoalescedPasses;

use super::coding::Coding;

/// The number of free buffers of each kind, and of free [`CachedScrape`]s, that are kept.
const SPARE: usize = 2;

/// The number of pages of one scrape, by format and coding, that requests share. Further ones are
/// rendered for each request.
const SHARED_PAGES: usize = 6;

/// The maximum time that a page waits for memory that clients hold.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(2);

/// The choice of a page.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) format: Format,
    pub(super) coding: Coding,
    /// If set, only families with these names are on the page.
    pub(super) names: Option<Vec<String>>,
}

impl Selection {
    /// Returns whether the page has `family`. A requested name matches the family's name or that of
    /// one of its samples, in any format and under any escaping. The escaping of the page does not
    /// matter, because a client may have taken the name from another page.
    fn includes(&self, family: &Family) -> bool {
        let Some(names) = &self.names else {
            return true;
        };
        let (kind, stem) = (family.kind(), family.kind().stem(family.name()));
        let mut start = String::new();
        Escaping::ALL.into_iter().any(|escaping| {
            // Every form below starts with this one, which rules out most families.
            start.clear();
            escaping.name(stem, &mut start);
            let mut similar = names.iter().filter(|name| name.starts_with(&start));
            similar.any(|requested| {
                let escaped = |name: &str| {
                    let mut escaped = String::new();
                    escaping.name(name, &mut escaped);
                    escaped
                };
                // Pages escape the name of the family, and add the suffix of a sample unchanged.
                // Other programs may escape the whole name of the sample.
                let shown = escaped(family.name());
                let suffix = requested.strip_prefix(kind.stem(&shown));
                kind.suffixes().iter().any(|own| {
                    suffix == Some(*own) || *requested == escaped(&format!("{stem}{own}"))
                })
            })
        })
    }
}

/// The reason why no page is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A collector requested the page that it contributes to.
    Reentrant,
    /// Clients hold as many bytes of pages as the limit allows.
    Full,
    /// The request has timed out or its client has disconnected.
    Gone,
}

/// Disconnects a slow reader to free the memory of its page. Returns `false` if no reader is slow.
pub(super) type EvictReader = Box<dyn Fn() -> bool + Send + Sync>;

/// Renders pages of some registries. All requests share one.
pub(super) struct Scraper {
    sources: Vec<Arc<dyn Source>>,
    options: Options,
    /// Runs one pass at a time and hands its result to all requests that came before it began.
    passes: CoalescedPasses<Arc<CachedScrape>>,
    /// The cached scrapes, free ones included. Used by the request that runs a pass.
    scrapes: Mutex<Vec<Arc<CachedScrape>>>,
    /// The memory of pages. Requests take buffers from it, and dropped pages return them.
    memory: Arc<Memory>,
    /// Disconnects a slow reader when memory runs out. `None` in a framework, which owns the
    /// connections.
    evict_reader: Option<EvictReader>,
}

/// The result of one pass, and the pages that were rendered from it.
#[derive(Default)]
struct CachedScrape {
    /// The families. Written by the request that runs the pass, read by those that share it.
    merged: MergedView,
    /// The rendered pages. Requests look up theirs here, and render it if it is missing.
    pages: Mutex<Vec<RenderedPage>>,
}

type RenderedPage = (Format, Coding, Arc<Page>);

/// A rendered page. Its memory is reused after its last reader has dropped it.
pub(super) struct Page {
    bytes: Vec<u8>,
    /// The index into `Memory::last` and `Memory::spare`: 0 if plain, 1 if compressed.
    kind: usize,
    memory: Arc<Memory>,
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.memory
            .give_back(self.kind, std::mem::take(&mut self.bytes));
    }
}

/// The memory of pages.
struct Memory {
    /// The limit of bytes of all pages, including those that clients are reading.
    limit: usize,
    /// Bytes of the pages that exist. Added by the rendering request, subtracted by dropped pages.
    held: AtomicUsize,
    /// The length of the last plain page and the last compressed page, as an estimate for the next
    /// one. Written and read by rendering requests.
    last: [AtomicUsize; 2],
    /// Free buffers of plain pages and of compressed pages. Taken by rendering requests, returned
    /// by dropped pages.
    spare: [Mutex<Vec<Vec<u8>>>; 2],
}

impl Memory {
    /// Returns whether a page of this length fits. Four pages always fit, however long they are.
    fn has_room(&self, length: usize) -> bool {
        self.held.load(Relaxed) + length <= self.limit.max(4 * length)
    }

    /// Returns the buffer of a dropped page.
    fn give_back(&self, kind: usize, bytes: Vec<u8>) {
        self.held.fetch_sub(bytes.len(), Relaxed);
        let mut spare = lock(&self.spare[kind]);
        if spare.len() < SPARE {
            spare.push(bytes);
        }
    }
}

impl Scraper {
    pub(super) fn new(
        sources: Vec<Arc<dyn Source>>,
        options: Options,
        limit: usize,
        evict_reader: Option<EvictReader>,
    ) -> Self {
        Self {
            sources,
            options,
            passes: CoalescedPasses::new(),
            scrapes: Mutex::default(),
            memory: Arc::new(Memory {
                limit,
                held: AtomicUsize::new(0),
                last: [AtomicUsize::new(0), AtomicUsize::new(0)],
                spare: [Mutex::default(), Mutex::default()],
            }),
            evict_reader,
        }
    }

    /// Returns a page that includes every update that returned before this call. Gives up if
    /// `is_wanted` returns `false`. This function blocks, so it must run on a thread that may
    /// block.
    pub(super) fn page(
        &self,
        selection: &Selection,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Arc<Page>, Refusal> {
        if !is_wanted() {
            return Err(Refusal::Gone);
        }
        let scrape = self.passes.run(|| {
            let mut scrapes = lock(&self.scrapes);
            let mut scrape = take_free(&mut scrapes);
            // No new request asks for pages of earlier scrapes, so this drops them. A client that
            // is still reading one keeps it alive until it has finished.
            for old in scrapes.iter_mut().filter_map(Arc::get_mut) {
                old.clear_pages();
            }
            drop(scrapes);
            if let Some(scrape) = Arc::get_mut(&mut scrape) {
                scrape.snapshot(&self.sources);
            }
            lock(&self.scrapes).push(Arc::clone(&scrape));
            scrape
        });
        let scrape = scrape.ok_or(Refusal::Reentrant)?;
        let render = |out: &mut Vec<u8>| {
            let families = scrape
                .merged
                .families()
                .filter(|family| selection.includes(family));
            self.options
                .render_families(families, scrape.merged.taken(), selection.format, out);
        };
        if !scrape
            .merged
            .families()
            .all(|family| selection.includes(family))
        {
            let plain = self.new_page(0, is_wanted, render)?;
            return self.compressed(&plain, selection.coding, is_wanted);
        }
        // The lock is held while the page is rendered, so other requests for the same page wait for
        // it. Requests for another page wait as well, which is rare.
        let mut pages = lock(&scrape.pages);
        let mut page = |coding, make: &dyn Fn() -> Result<Arc<Page>, Refusal>| {
            let cached = pages
                .iter()
                .find(|(f, c, _)| (*f, *c) == (selection.format, coding));
            if let Some((_, _, page)) = cached {
                return Ok(Arc::clone(page));
            }
            let page = make()?;
            if pages.len() < SHARED_PAGES {
                pages.push((selection.format, coding, Arc::clone(&page)));
            }
            Ok(page)
        };
        let plain = page(Coding::Identity, &|| self.new_page(0, is_wanted, render))?;
        page(selection.coding, &|| {
            self.compressed(&plain, selection.coding, is_wanted)
        })
    }

    /// Returns `plain` in this coding.
    fn compressed(
        &self,
        plain: &Arc<Page>,
        coding: Coding,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Arc<Page>, Refusal> {
        if coding == Coding::Identity {
            return Ok(Arc::clone(plain));
        }
        self.new_page(1, is_wanted, |out| {
            // Writing to memory does not fail.
            let written = coding.encode(&plain.bytes, out);
            debug_assert!(written.is_ok(), "{written:?}");
        })
    }

    /// Returns a page that `write` fills, in a reused buffer. If clients hold too much memory, it
    /// disconnects slow ones and waits.
    fn new_page(
        &self,
        kind: usize,
        is_wanted: &dyn Fn() -> bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Arc<Page>, Refusal> {
        let expected = self.memory.last[kind].load(Relaxed);
        let end = Instant::now() + MEMORY_TIMEOUT;
        while !self.memory.has_room(expected) {
            if !is_wanted() {
                return Err(Refusal::Gone);
            }
            let evicted = self.evict_reader.as_ref().is_some_and(|evict| evict());
            if Instant::now() >= end {
                return Err(Refusal::Full);
            }
            // An evicted connection frees its page when its task runs next.
            std::thread::sleep(Duration::from_millis(if evicted { 2 } else { 20 }));
        }
        let mut bytes = lock(&self.memory.spare[kind]).pop().unwrap_or_default();
        bytes.clear();
        write(&mut bytes);
        // A page of a few families may have reused the buffer of a page of all families.
        if bytes.capacity() / 4 > bytes.len() + 4096 {
            bytes.shrink_to_fit();
        }
        self.memory.last[kind].store(bytes.len(), Relaxed);
        self.memory.held.fetch_add(bytes.len(), Relaxed);
        let memory = Arc::clone(&self.memory);
        Ok(Arc::new(Page {
            bytes,
            kind,
            memory,
        }))
    }
}

impl CachedScrape {
    /// Drops the pages.
    fn clear_pages(&mut self) {
        let pages = self.pages.get_mut();
        pages.unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Takes new snapshots of the sources.
    fn snapshot(&mut self, sources: &[Arc<dyn Source>]) {
        self.clear_pages();
        self.merged.take(sources, |error| {
            crate::error::warn_once(&format_args!("left out of the page: {error}"));
        });
    }
}

/// Returns an element that no other holder uses, or a new one. Keeps at most `SPARE` of the free
/// ones.
fn take_free<T: Default>(all: &mut Vec<Arc<T>>) -> Arc<T> {
    let mut free = 0;
    all.retain_mut(|one| {
        free += usize::from(Arc::get_mut(one).is_some());
        free <= SPARE || Arc::get_mut(one).is_none()
    });
    match all.iter_mut().position(|one| Arc::get_mut(one).is_some()) {
        Some(index) => all.swap_remove(index),
        None => Arc::default(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
