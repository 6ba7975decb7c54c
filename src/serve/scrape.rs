//! From a request to a page: one pass for all who asked before it began, each format and coding of it written once,
//! into memory that is used again.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::encode::{Escaping, Format, Options};
use crate::snapshot::{Family, MergedView, Source};
use crate::sync::CoalescedPasses;

use super::coding::Coding;

/// Free pages, and free rounds, that are kept for the next scrapes.
const SPARE: usize = 2;

/// Pages of one round, by format and coding, that are shared: others are made for whoever asks.
const SHARED: usize = 6;

/// How long a page waits for memory that readers hold.
const PATIENCE: Duration = Duration::from_secs(2);

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

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// A collector asked for the page that it is a part of.
    Inside,
    /// Readers hold as many bytes of pages as they may.
    Full,
    /// Nobody waits for it any more.
    Gone,
}

/// Frees memory that a slow reader holds, if there is such a reader.
pub(super) type Relief = Box<dyn Fn() -> bool + Send + Sync>;

/// Renders pages of some registries.
pub(super) struct Scraper {
    sources: Vec<Arc<dyn Source>>,
    options: Options,
    passes: CoalescedPasses<Arc<Round>>,
    rounds: Mutex<Vec<Arc<Round>>>,
    memory: Arc<Memory>,
    relief: Option<Relief>,
}

/// What one pass found, and the pages that were made of it.
#[derive(Default)]
struct Round {
    found: MergedView,
    pages: Mutex<Vec<Made>>,
}

type Made = (Format, Coding, Arc<Page>);

/// A page; its memory is free again when the last one of its readers is through.
pub(super) struct Page {
    bytes: Vec<u8>,
    /// 0: plain. 1: coded.
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
    /// Bytes of pages at once, those that are being read among them.
    most: usize,
    held: AtomicUsize,
    /// The length of the last page, plain and coded: what the next one may be expected to take.
    last: [AtomicUsize; 2],
    /// Of plain pages, and of coded ones.
    spare: [Mutex<Vec<Vec<u8>>>; 2],
}

impl Memory {
    /// Whether there is room for a page of this length: a few of them always fit, however long they are.
    fn has_room(&self, length: usize) -> bool {
        self.held.load(Relaxed) + length <= self.most.max(4 * length)
    }

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
            passes: CoalescedPasses::new(),
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

    /// A page that has every update that returned before this call, unless nobody `wants` it any more. Blocks: for a thread
    /// that may.
    pub(super) fn page(
        &self,
        wanted: &Wanted,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Arc<Page>, Refusal> {
        if !is_wanted() {
            return Err(Refusal::Gone);
        }
        let round = self.passes.run(|| {
            let mut rounds = lock(&self.rounds);
            let mut round = spare(&mut rounds);
            // Nobody asks for pages of earlier rounds: those that are being read go when they have been.
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
        // While it is written, others who want it wait for it; so do those who want another, which is rare.
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

    /// A page that `write` writes, into memory that is used again. Where readers hold too much, slow ones are let go.
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
            // An eviction takes effect when the connection's task runs.
            std::thread::sleep(Duration::from_millis(if evicted { 2 } else { 20 }));
        }
        let mut bytes = lock(&self.memory.spare[kind]).pop().unwrap_or_default();
        bytes.clear();
        write(&mut bytes);
        // After a page of all families one of a few.
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
    fn forget(&mut self) {
        let pages = self.pages.get_mut();
        pages.unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn take(&mut self, sources: &[Arc<dyn Source>]) {
        self.forget();
        self.found.take(sources, |error| {
            crate::error::warn_once(&format_args!("left out of the page: {error}"));
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
