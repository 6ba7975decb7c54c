//! A scrape from socket to socket: pages of 10⁶ counters and of 10⁵ histograms over loopback, plain
//! and compressed, for one scraper and for four at once.
//!
//! Run it with `cargo bench -p tallies-system-benches --bench socket`. Arguments select rows by
//! words of their names, such as `counters gzip`. `-- levels` instead prints the cost and the
//! effect of each level of compression, for a page of 10⁵ counters.
//!
//! - *CPU* is the processor time of the whole process without that of the clients' threads, per
//!   scrape. It includes the pass over the registry and the kernel's work for the socket.
//! - *ns per byte* divides it by the length of the plain page.
//! - *First byte* is the time from the request to the first byte of the response, of the last
//!   client that gets it.
//! - *Peak* is the growth of live memory during the scrapes, over a registry that was never
//!   scraped. Snapshots are part of it; the working memory of zstd, about 1.5 MB for each page that
//!   is being compressed, is not.
//!
//! The processor time is that of the best round, since other programs only add to it. The first
//! byte is the median of the rounds, the peak the largest one.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tallies::{Counter, Histogram, Registry, encode, serve::Server};

const COUNTERS: usize = 1_000_000;
const HISTOGRAMS: usize = 100_000;
const ROUNDS: usize = 9;

/// Counts live bytes, and their maximum since the last [`reset`](Self::reset).
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

impl Counting {
    fn grow(bytes: usize) {
        let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
        PEAK.fetch_max(live, Relaxed);
    }

    fn reset() {
        PEAK.store(LIVE.load(Relaxed), Relaxed);
    }
}

#[allow(unsafe_code, reason = "an allocator that counts")]
// SAFETY: forwards every call to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::grow(layout.size());
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::grow(layout.size());
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Grows first: while the system copies, both blocks may exist.
        Self::grow(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::realloc`.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn clock(id: ClockId) -> Duration {
    let time = clock_gettime(id);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The figures of one client.
struct Scraped {
    /// Whether it got the page, and not an error.
    ok: bool,
    first_byte: Duration,
    /// Bytes that came over the socket.
    bytes: usize,
    /// Processor time of the client's thread.
    own: Duration,
}

fn scrape(address: SocketAddr, coding: &str, start: &Barrier) -> Scraped {
    let mut buffer = vec![0; 1 << 18];
    let mut stream = TcpStream::connect(address).unwrap();
    start.wait();
    let before = clock(ClockId::ThreadCPUTime);
    let asked = Instant::now();
    let request = format!(
        "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept-Encoding: {coding}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut bytes = stream.read(&mut buffer).unwrap();
    let first_byte = asked.elapsed();
    let ok = buffer.starts_with(b"HTTP/1.1 200");
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            more => bytes += more,
        }
    }
    Scraped {
        ok,
        first_byte,
        bytes,
        own: clock(ClockId::ThreadCPUTime) - before,
    }
}

/// The figures of one round.
struct Round {
    /// Processor time per scrape.
    cpu: Duration,
    first_byte: Duration,
    bytes: usize,
    peak: usize,
    refused: usize,
}

fn round(address: SocketAddr, coding: &str, scrapers: usize) -> Round {
    let start = Barrier::new(scrapers + 1);
    let (before, all) = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..scrapers)
            .map(|_| scope.spawn(|| scrape(address, coding, &start)))
            .collect();
        Counting::reset();
        let before = clock(ClockId::ProcessCPUTime);
        start.wait();
        let all: Vec<_> = clients.into_iter().map(|c| c.join().unwrap()).collect();
        (before, all)
    });
    let used = clock(ClockId::ProcessCPUTime) - before;
    let own: Duration = all.iter().map(|scraped| scraped.own).sum();
    Round {
        cpu: used.saturating_sub(own) / scrapers as u32,
        first_byte: all.iter().map(|scraped| scraped.first_byte).max().unwrap(),
        bytes: all.iter().map(|scraped| scraped.bytes).max().unwrap(),
        peak: PEAK.load(Relaxed),
        refused: all.iter().filter(|scraped| !scraped.ok).count(),
    }
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort_unstable();
    all[all.len() / 2]
}

fn measure(name: &str, registry: &Registry, wanted: &[String]) {
    let before = LIVE.load(Relaxed);
    let page = encode::text(&registry.snapshot()).len();
    for coding in ["identity", "gzip", "zstd"] {
        for scrapers in [1, 4] {
            let row = format!("{name}, {coding}, {scrapers}");
            if !wanted.iter().all(|word| row.contains(&**word)) {
                continue;
            }
            // Each row has a service of its own, so that no row uses the memory of another.
            let serving = Server::new()
                .registry(registry)
                .listen("127.0.0.1:0")
                .unwrap();
            let rounds: Vec<_> = (0..ROUNDS)
                .map(|_| round(serving.address(), coding, scrapers))
                .collect();
            serving.stop();
            let refused: usize = rounds.iter().map(|round| round.refused).sum();
            let row = match refused {
                0 => row,
                _ => format!("{row} ({refused} of {} got 503)", ROUNDS * scrapers),
            };
            let cpu = rounds.iter().map(|round| round.cpu).min().unwrap();
            let first_byte = median(rounds.iter().map(|round| round.first_byte).collect());
            println!(
                "| {row} | {:.1} | {:.1} | {:.0} | {:.2} | {:.1} | {:.1} |",
                page as f64 / 1e6,
                rounds[0].bytes as f64 / 1e6,
                cpu.as_secs_f64() * 1e3,
                cpu.as_secs_f64() * 1e9 / page as f64,
                first_byte.as_secs_f64() * 1e3,
                (rounds.iter().map(|round| round.peak).max().unwrap() - before) as f64 / 1e6,
            );
        }
    }
}

/// Label values as a service has them.
fn labels(i: usize) -> [String; 3] {
    let method = ["GET", "POST", "PUT", "DELETE"][i % 4];
    let status = ["200", "201", "204", "404", "500"][i / 4 % 5];
    let route = format!("/api/v1/tenants/{}/items/{}", i / 20 % 1000, i / 20_000);
    [method.to_owned(), route, status.to_owned()]
}

/// A number with as many digits as those of busy and quiet series have.
fn number(i: usize) -> u64 {
    let random = (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    random >> (24 + random % 40)
}

fn counters(series: usize) -> Registry {
    let registry = Registry::new();
    let family = Counter::builder("http_requests_total", "Requests answered.")
        .labels(["method", "route", "status"])
        .limit(series)
        .register(&registry)
        .unwrap();
    for i in 0..series {
        let [method, route, status] = labels(i);
        family.with([&method, &route, &status]).add(number(i));
    }
    registry
}

fn histograms(series: usize) -> Registry {
    let registry = Registry::new();
    let family = Histogram::builder("http_request_duration_seconds", "Time to answer.")
        .labels(["method", "route", "status"])
        .limit(series)
        .register(&registry)
        .unwrap();
    for i in 0..series {
        let [method, route, status] = labels(i);
        let times = family.with([&method, &route, &status]);
        for (n, time) in [0.004, 0.02, 0.04, 0.3, 2.0].into_iter().enumerate() {
            times.observe_many(time, number(i * 5 + n) >> (8 * n));
        }
    }
    registry
}

/// Prints nanoseconds per byte and ratio of each level of compression.
fn levels() {
    println!("| page | coding | level | ns per byte | ratio |");
    println!("|---|---|---|---|---|");
    let pages = [
        ("counters", counters(100_000)),
        ("histograms", histograms(10_000)),
    ];
    for (name, registry) in pages {
        let page = encode::text(&registry.snapshot());
        let page = page.as_bytes();
        let gzip = |level| {
            let mut encoder =
                flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level as u32));
            encoder.write_all(page).unwrap();
            encoder.finish().unwrap().len()
        };
        let zstd = |level| zstd::stream::encode_all(page, level).unwrap().len();
        let all = (1..=6)
            .map(|level| ("gzip", level))
            .chain((1..=3).map(|level| ("zstd", level)));
        for (coding, level) in all {
            let mut best = (Duration::MAX, 0);
            for _ in 0..5 {
                let before = clock(ClockId::ThreadCPUTime);
                let len = match coding {
                    "gzip" => gzip(level),
                    _ => zstd(level),
                };
                best = best.min((clock(ClockId::ThreadCPUTime) - before, len));
            }
            println!(
                "| {name} | {coding} | {level} | {:.2} | {:.1} |",
                best.0.as_secs_f64() * 1e9 / page.len() as f64,
                page.len() as f64 / best.1 as f64
            );
        }
    }
}

fn main() {
    let wanted: Vec<_> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    if wanted.iter().any(|word| word == "levels") {
        return levels();
    }
    println!(
        "| page, coding, scrapers | page, MB | sent, MB | CPU, ms | ns per byte | first byte, ms | peak, MB |"
    );
    println!("|---|---|---|---|---|---|---|");
    if !wanted.iter().any(|word| word == "histograms") {
        measure("10⁶ counters", &counters(COUNTERS), &wanted);
    }
    if !wanted.iter().any(|word| word == "counters") {
        measure("10⁵ histograms", &histograms(HISTOGRAMS), &wanted);
    }
}
