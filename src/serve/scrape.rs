//! Scrapes and their memory. All requests that came before a pass began share that pass, and those
//! that want the same page share its blocks.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::encode::Escaping;
use crate::snapshot::{Family, Merged, MergedSnapshot};
use crate::sync::{CoalescedPasses, lock};

use super::answer::{Answer, failed, scrape_failed, timed_out, unavailable};
use super::page::{Look, PageBlock, Position, SharedPage};

/// The number of free buffers of each kind, and of free [`Scrape`]s, that are kept.
const SPARE: usize = 2;

/// The number of pages of one scrape, by format, coding and families, that requests share. Further
/// ones are rendered for each request.
const SHARED_PAGES: usize = 6;

/// The maximum time that a scrape waits for memory that clients hold.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(2);

/// The choice of a page.
#[derive(Clone, Debug)]
pub(super) struct Selection {
    pub(super) look: Look,
    /// If there are any, only families with these names are on the page.
    pub(super) names: Vec<String>,
}

impl Selection {
    /// Returns whether the page has `family`. A requested name matches the family's name or that of
    /// one of its samples, in any format and under any escaping. The escaping of the page does not
    /// matter, because a client may have taken the name from another page.
    fn includes(&self, family: &Family) -> bool {
        if self.names.is_empty() {
            return true;
        }
        let (kind, stem) = (family.kind(), family.kind().stem(family.name()));
        let mut start = String::new();
        Escaping::ALL.into_iter().any(|escaping| {
            // Every form below starts with this one, which rules out most families.
            start.clear();
            escaping.name(stem, &mut start);
            let mut similar = self.names.iter().filter(|name| name.starts_with(&start));
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

/// Disconnects a slow reader to free the memory that it holds. Returns `false` if no reader is
/// slow.
pub(super) type EvictReader = Box<dyn Fn() -> bool + Send + Sync>;

/// Takes scrapes of some registries and makes the blocks of their pages. All requests share one.
pub(super) struct Scraper {
    /// The sources of the pages.
    pub(super) sources: Merged,
    /// Runs one pass at a time and hands its result to all requests that came before it began.
    passes: CoalescedPasses<Arc<Scrape>>,
    /// The scrapes, free ones included. Used by the request that runs a pass, and by readers that
    /// have finished with theirs.
    scrapes: Mutex<Vec<Arc<Scrape>>>,
    /// The size of the last scrape in bytes, as an estimate for the next one. Written and read by
    /// requests.
    last_size: AtomicUsize,
    /// The limit of bytes of scrapes and blocks that clients are reading.
    limit: usize,
    pub(super) memory: Arc<PageMemory>,
    /// Disconnects a slow reader when memory runs out. `None` in a framework, which owns the
    /// connections.
    evict_reader: Option<EvictReader>,
}

/// The result of one pass, and its pages.
#[derive(Default)]
struct Scrape {
    /// The families. Written by the request that runs the pass, read by those that share it.
    merged: MergedSnapshot,
    /// Why a source had no snapshot. Written and read like `merged`, which is empty then.
    unavailable: Option<Bytes>,
    /// The pages. Requests look up theirs here, and add it if it is missing.
    pages: Mutex<Vec<Arc<SharedPage>>>,
}

/// A page, and the scrape that it shows. Dropping it frees the scrape if no other reader has it.
pub(super) struct ScrapedPage {
    pub(super) page: Arc<SharedPage>,
    scrape: Arc<Scrape>,
    /// Dropped after `scrape`.
    scraper: FreeScrapes,
}

/// Frees what no reader uses, when it is dropped.
struct FreeScrapes(Arc<Scraper>);

impl Drop for FreeScrapes {
    fn drop(&mut self) {
        free(&mut lock(&self.0.scrapes));
    }
}

/// The memory of blocks, and of what else clients are reading.
#[derive(Default)]
pub(super) struct PageMemory {
    /// Bytes of the blocks, reports and frames that exist.
    held: Arc<AtomicUsize>,
    /// Bytes of the moments of the live page, of which there are two at most.
    pub(super) moments: Arc<AtomicUsize>,
    /// Free buffers of plain blocks and of compressed blocks. Taken by readers that make blocks,
    /// returned by dropped blocks.
    spare: [Mutex<Vec<Vec<u8>>>; 2],
}

/// Bytes that clients are reading. They count until this value is dropped.
pub(super) struct HeldBytes {
    len: usize,
    /// All such bytes. Added to by the reader that makes them, subtracted from when it is dropped.
    all: Arc<AtomicUsize>,
}

impl HeldBytes {
    pub(super) fn new(len: usize, all: &Arc<AtomicUsize>) -> Self {
        all.fetch_add(len, Relaxed);
        let all = Arc::clone(all);
        Self { len, all }
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.all.fetch_sub(self.len, Relaxed);
    }
}

/// A report or a frame.
struct HeldText {
    text: String,
    _held: HeldBytes,
}

impl AsRef<[u8]> for HeldText {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

impl PageMemory {
    /// Counts the bytes of a report or a frame until they are dropped.
    pub(super) fn share(&self, text: String) -> Bytes {
        let _held = HeldBytes::new(text.len(), &self.held);
        Bytes::from_owner(HeldText { text, _held })
    }

    /// Returns an empty buffer of this kind.
    pub(super) fn buffer(&self, kind: usize) -> Vec<u8> {
        let mut buffer = lock(&self.spare[kind]).pop().unwrap_or_default();
        buffer.clear();
        buffer
    }

    /// Returns a buffer that is no longer used.
    pub(super) fn reuse(&self, kind: usize, buffer: Vec<u8>) {
        let mut spare = lock(&self.spare[kind]);
        if spare.len() < SPARE {
            spare.push(buffer);
        }
    }

    /// Counts the bytes of a block.
    pub(super) fn hold(&self, bytes: &mut Vec<u8>) -> HeldBytes {
        // A short block may have reused the buffer of a long one.
        if bytes.capacity() / 4 > bytes.len() + 4096 {
            bytes.shrink_to_fit();
        }
        HeldBytes::new(bytes.len(), &self.held)
    }
}

impl Scraper {
    pub(super) fn new(sources: Merged, limit: usize, evict_reader: Option<EvictReader>) -> Self {
        Self {
            sources,
            passes: CoalescedPasses::new(),
            scrapes: Mutex::default(),
            last_size: AtomicUsize::new(0),
            limit,
            memory: Arc::default(),
            evict_reader,
        }
    }

    /// Returns the arrival of a request. Its page includes every update that returned before.
    pub(super) fn arrive(&self) -> u64 {
        self.passes.arrive()
    }

    /// Returns the page of a request that arrived then, and its first block, or the response to
    /// send if there is none. Gives up if `is_wanted` returns `false`. This function blocks, so it
    /// must run on a thread that may block.
    pub(super) fn page(
        self: &Arc<Self>,
        arrived: u64,
        selection: &Selection,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<(ScrapedPage, Arc<PageBlock>), Answer> {
        if !is_wanted() {
            return Err(timed_out());
        }
        let scrape = self.scrape(arrived, is_wanted)?;
        if let Some(reason) = &scrape.unavailable {
            return Err(unavailable(reason.clone()));
        }
        let page = ScrapedPage {
            page: scrape.page(selection),
            scrape,
            scraper: FreeScrapes(Arc::clone(self)),
        };
        let first = page.block(&Position::default());
        Ok((page, first.map_err(|_| scrape_failed())?))
    }

    /// Returns a scrape whose pass began after this arrival. The requests that waited for their
    /// turn, or for memory, share it.
    fn scrape(&self, arrived: u64, is_wanted: &dyn Fn() -> bool) -> Result<Arc<Scrape>, Answer> {
        let end = Instant::now() + MEMORY_TIMEOUT;
        loop {
            if let Some(scrape) = self.passes.last(arrived) {
                return Ok(scrape);
            }
            if self.has_room() {
                break;
            }
            if !is_wanted() {
                return Err(timed_out());
            }
            // Memory is short, so slow clients are disconnected.
            let evicted = self.evict_reader.as_ref().is_some_and(|evict| evict());
            if Instant::now() >= end {
                return Err(unavailable("slow readers hold too many pages\n"));
            }
            // An evicted connection frees its scrape when its task runs next.
            std::thread::sleep(Duration::from_millis(if evicted { 2 } else { 20 }));
        }
        let scrape = self.passes.run(arrived, || {
            let mut scrapes = lock(&self.scrapes);
            free(&mut scrapes);
            let is_free = |scrape: &mut Arc<Scrape>| Arc::get_mut(scrape).is_some();
            let index = scrapes.iter_mut().position(is_free);
            let mut scrape = index.map_or_else(Arc::default, |index| scrapes.swap_remove(index));
            drop(scrapes);
            if let Some(scrape) = Arc::get_mut(&mut scrape) {
                scrape.snapshot(&self.sources);
                self.last_size.store(scrape.merged.bytes(), Relaxed);
            }
            lock(&self.scrapes).push(Arc::clone(&scrape));
            scrape
        });
        scrape.ok_or_else(|| failed("a collector requested the page that runs it\n"))
    }

    /// Returns whether a scrape like the last one fits. Four scrapes always fit, however large they
    /// are.
    fn has_room(&self) -> bool {
        let expected = self.last_size.load(Relaxed);
        let scrapes = lock(&self.scrapes);
        let used = scrapes
            .iter()
            .filter(|scrape| Arc::strong_count(scrape) > 1);
        let used: usize = used.map(|scrape| scrape.merged.bytes()).sum();
        let held = self.memory.held.load(Relaxed) + expected + used;
        // The live page has its part, too.
        let moments = self.memory.moments.load(Relaxed);
        held <= self.limit.saturating_sub(moments).max(4 * expected)
    }
}

impl ScrapedPage {
    /// Returns the block at this position. This function blocks while another reader makes it.
    ///
    /// # Errors
    ///
    /// Returns an error if the compressor gets no memory.
    pub(super) fn block(&self, position: &Position) -> io::Result<Arc<PageBlock>> {
        let memory = &self.scraper.0.memory;
        self.page.block(position, &self.scrape.merged, memory)
    }
}

impl Scrape {
    /// Returns the page of this selection, which other requests may share.
    fn page(&self, selection: &Selection) -> Arc<SharedPage> {
        let families = self.merged.families().enumerate();
        let families = families.filter(|(_, family)| selection.includes(family));
        let families: Vec<_> = families.map(|(at, _)| at).collect();
        let mut pages = lock(&self.pages);
        if let Some(page) = pages.iter().find(|page| page.is(selection.look, &families)) {
            return Arc::clone(page);
        }
        let page = Arc::new(SharedPage::new(selection.look, families));
        if pages.len() < SHARED_PAGES {
            pages.push(Arc::clone(&page));
        }
        page
    }

    /// Takes new snapshots of the sources.
    fn snapshot(&mut self, sources: &Merged) {
        // The last reader of the scrape may have left a moment ago, behind a look for free ones.
        self.clear_pages();
        let taken = sources.take(&mut self.merged);
        self.unavailable = taken.err().map(|error| format!("{error}\n").into());
    }

    /// Drops the pages, which show the last snapshots.
    fn clear_pages(&mut self) {
        let pages = self.pages.get_mut();
        pages.unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Drops the pages of free scrapes, which no new request asks for, and all but [`SPARE`] of the
/// free scrapes. A scrape is in use while a client reads a page of it, or a new request may.
fn free(scrapes: &mut Vec<Arc<Scrape>>) {
    let mut found = 0;
    scrapes.retain_mut(|scrape| {
        let Some(scrape) = Arc::get_mut(scrape) else {
            return true;
        };
        scrape.clear_pages();
        found += 1;
        found <= SPARE
    });
}

#[cfg(all(test, not(loom)))]
mod tests {
    use http::{Request, StatusCode};

    use super::*;
    use crate::Registry;
    use crate::serve::answer::{Pages, selection};
    use crate::serve::page::Style;
    use crate::snapshot::{Snapshot, Source};

    /// A source that counts its snapshots.
    struct Counted(Registry, Arc<AtomicUsize>);

    impl Source for Counted {
        fn snapshot_into(&self, snapshot: &mut Snapshot) {
            self.1.fetch_add(1, Relaxed);
            self.0.snapshot_into(snapshot);
        }
    }

    /// The last reader left between the look for free scrapes and the next snapshot, and a request
    /// got a page of the snapshot before its own.
    #[test]
    fn a_scrape_that_is_used_again_has_no_pages_of_its_last_snapshots() {
        let registry = Registry::new();
        let jobs = registry.counter("jobs_total", "").unwrap();
        let sources = Merged::new().source(&registry);
        let mut scrape = Scrape::default();
        let selection = selection(&Request::new(()), Style::new()).ok().unwrap();
        let mut text = || {
            scrape.snapshot(&sources);
            let page = scrape.page(&selection);
            let block = page.block(&Position::default(), &scrape.merged, &Arc::default());
            String::from_utf8(block.unwrap().bytes.clone()).unwrap()
        };
        assert!(text().ends_with("jobs_total 0\n"));
        jobs.inc();
        assert!(text().ends_with("jobs_total 1\n"));
    }

    /// Each request took a snapshot of its own at its turn. Clients that read nothing held so many
    /// that each turn waited for memory, and an honest scraper for all of them.
    #[test]
    fn requests_that_wait_for_their_turn_share_a_pass() {
        let made = Arc::new(AtomicUsize::new(0));
        let registry = Registry::new();
        let counter = registry.counter("jobs_total", "").unwrap();
        let source: Arc<dyn Source> = Arc::new(Counted(registry, Arc::clone(&made)));
        let pages = Pages::new(Merged::from_iter([source]), (1, usize::MAX), None);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.build().unwrap().block_on(async {
            let ask = || {
                let request = selection(&Request::new(()), Style::new());
                let pages = pages.clone();
                tokio::spawn(
                    async move { pages.answer(request.ok().unwrap(), || ()).await.unwrap() },
                )
            };
            for passes in 1..4 {
                let turn = pages.turns.take().await;
                counter.inc();
                let waiting: Vec<_> = (0..100).map(|_| ask()).collect();
                tokio::task::yield_now().await;
                drop(turn);
                for client in waiting {
                    let answer = client.await.unwrap();
                    assert_eq!(answer.status(), StatusCode::OK);
                    let body = http_body_util::BodyExt::collect(answer.into_body()).await;
                    let page = body.unwrap().to_bytes();
                    assert!(page.ends_with(format!("jobs_total {passes}\n").as_bytes()));
                }
                assert_eq!(made.load(Relaxed), passes);
            }
        });
    }
}
