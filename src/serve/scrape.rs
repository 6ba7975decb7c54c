//! Scrapes and rendered pages. All requests that came before a pass began share that pass.
//!
//! Each format and coding of a page is rendered once per pass, into memory that later pages reuse.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::encode::{Escaping, Format, Options};
use crate::snapshot::{Family, Gathered, Source};
use crate::sync::Passes;

use super::coding::Coding;

/// The number of free buffers of each kind, and of free rounds, that are kept for later scrapes.
const SPARE: usize = 2;

/// The number of pages of one round, by format and coding, that requests share. Further ones are
/// rendered for each request.
const SHARED: usize = 6;

/// The maximum time that a page waits for memory that clients hold.
const PATIENCE: Duration = Duration::from_secs(2);

/// The choice of a page.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) format: Format,
    pub(super) coding: Coding,
    /// If set, only families with these names are on the page.
    pub(super) names: Option<Vec<String>>,
}

impl Wanted {
    /// Returns whether the page has `family`. A requested name matches the family's name or that of
    /// one of its samples, in any format. It also matches the escaped name, for clients that do not
    /// know UTF-8 names.
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

/// The reason why no page is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A collector requested the page that it contributes to.
    Inside,
    /// Clients hold as many bytes of pages as the limit allows.
    Full,
    /// The request has timed out or its client has disconnected.
    Gone,
}

/// Disconnects a slow reader to free the memory of its page. Returns `false` if no reader is slow.
pub(super) type Relief = Box<dyn Fn() -> bool + Send + Sync>;

/// Renders pages of some registries. All requests share one.
pub(super) struct Scraper {
    sources: Vec<Arc<dyn Source>>,
    options: Options,
    /// Runs one pass at a time and hands its round to all requests that came before it began.
    passes: Passes<Arc<Round>>,
    /// The rounds that exist, free ones included. Used by the request that runs a pass.
    rounds: Mutex<Vec<Arc<Round>>>,
    /// The memory of pages. Requests take buffers from it, and dropped pages return them.
    memory: Arc<Memory>,
    /// Disconnects a slow reader when memory runs out. `None` in a framework, which owns the
    /// connections.
    relief: Option<Relief>,
}

/// The result of one pass, and the pages that were rendered from it.
#[derive(Default)]
struct Round {
    /// The families. Written by the request that runs the pass, read by those that share it.
    found: Gathered,
    /// The rendered pages. Requests look up theirs here, and render it if it is missing.
    pages: Mutex<Vec<Made>>,
}

type Made = (Format, Coding, Arc<Page>);

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
    most: usize,
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
        self.held.load(Relaxed) + length <= self.most.max(4 * length)
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
        most: usize,
        relief: Option<Relief>,
    ) -> Self {
        Self {
            sources,
            options,
            passes: Passes::new(),
            rounds: Mutex::default(),
            memory: Arc::new(Memory {
                most,
                held: AtomicUsize::new(0),
                last: [AtomicUsize::new(0), AtomicUsize::new(0)],
                spare: [Mutex::default(), Mutex::default()],
            }),
            relief,
        }
    }

    /// Returns a page that includes every update that returned before this call. Gives up if
    /// `is_wanted` returns `false`. This function blocks, so it must run on a thread that may
    /// block.
    pub(super) fn page(
        &self,
        wanted: &Wanted,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Arc<Page>, Refusal> {
        if !is_wanted() {
            return Err(Refusal::Gone);
        }
        let round = self.passes.share(|| {
            let mut rounds = lock(&self.rounds);
            let mut round = spare(&mut rounds);
            // No new request asks for pages of earlier rounds, so this drops them. A client that is
            // still reading one keeps it alive until it has finished.
            for old in rounds.iter_mut().filter_map(Arc::get_mut) {
                old.forget();
            }
            drop(rounds);
            if let Some(round) = Arc::get_mut(&mut round) {
                round.take(&self.sources);
            }
            lock(&self.rounds).push(Arc::clone(&round));
            round
        });
        let round = round.ok_or(Refusal::Inside)?;
        let render = |out: &mut Vec<u8>| {
            let families = round.found.families().filter(|family| wanted.wants(family));
            self.options
                .render_families(families, round.found.taken(), wanted.format, out);
        };
        if !round.found.families().all(|family| wanted.wants(family)) {
            let plain = self.written(0, is_wanted, render)?;
            return self.coded(&plain, wanted.coding, is_wanted);
        }
        // The lock is held while the page is rendered, so other requests for the same page wait for
        // it. Requests for another page wait as well, which is rare.
        let mut pages = lock(&round.pages);
        let mut page = |coding, make: &dyn Fn() -> Result<Arc<Page>, Refusal>| {
            let known = pages
                .iter()
                .find(|(f, c, _)| (*f, *c) == (wanted.format, coding));
            if let Some((_, _, page)) = known {
                return Ok(Arc::clone(page));
            }
            let page = make()?;
            if pages.len() < SHARED {
                pages.push((wanted.format, coding, Arc::clone(&page)));
            }
            Ok(page)
        };
        let plain = page(Coding::Identity, &|| self.written(0, is_wanted, render))?;
        page(wanted.coding, &|| {
            self.coded(&plain, wanted.coding, is_wanted)
        })
    }

    /// Returns `plain` in this coding.
    fn coded(
        &self,
        plain: &Arc<Page>,
        coding: Coding,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Arc<Page>, Refusal> {
        if coding == Coding::Identity {
            return Ok(Arc::clone(plain));
        }
        self.written(1, is_wanted, |out| {
            // Writing to memory does not fail.
            let written = coding.encode(&plain.bytes, out);
            debug_assert!(written.is_ok(), "{written:?}");
        })
    }

    /// Returns a page that `write` fills, in a reused buffer. If clients hold too much memory, it
    /// disconnects slow ones and waits.
    fn written(
        &self,
        kind: usize,
        is_wanted: &dyn Fn() -> bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Arc<Page>, Refusal> {
        let expected = self.memory.last[kind].load(Relaxed);
        let end = Instant::now() + PATIENCE;
        while !self.memory.has_room(expected) {
            if !is_wanted() {
                return Err(Refusal::Gone);
            }
            let evicted = self.relief.as_ref().is_some_and(|relief| relief());
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

impl Round {
    /// Drops the pages.
    fn forget(&mut self) {
        let pages = self.pages.get_mut();
        pages.unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Takes new snapshots of the sources.
    fn take(&mut self, sources: &[Arc<dyn Source>]) {
        self.forget();
        self.found.take(sources, |error| {
            crate::error::report_once(&format_args!("left out of the page: {error}"));
        });
    }
}

/// Returns an element that no other holder uses, or a new one. Keeps at most `SPARE` of the free
/// ones.
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
