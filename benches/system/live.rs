//! A scrape while pages are open: what it costs beside no page, and beside twenty.
//!
//! Run it with `cargo bench -p tallies-system-benches --bench live`. The registry has 10⁴ counters
//! and 10³ histograms, about 1.5 MB as text. The rounds with and without pages alternate.
//!
//! - *Time* is from the request to the end of the page, for one scraper after the other: the
//!   median, and what 99 of 100 scrapes stay below.
//! - *CPU* is the processor time of the whole process per scrape, without that of the clients'
//!   threads. It includes what the pages cost meanwhile.
//! - *Pages* is the processor time that the pages cost in a second without scrapes, in parts of
//!   that second.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tallies::{Counter, Histogram, Registry, serve::Server};

const FAMILIES: usize = 20;
const PAGES: usize = 20;
const ROUNDS: usize = 5;
const ROUND: Duration = Duration::from_secs(3);

fn clock(id: ClockId) -> Duration {
    let time = clock_gettime(id);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn registry() -> Registry {
    let registry = Registry::new();
    registry.set_lint(false);
    for family in 0..FAMILIES {
        let jobs = Counter::builder(&format!("jobs_{family}_total"), "Jobs.")
            .labels(["queue"])
            .register(&registry)
            .unwrap();
        let times = Histogram::builder(&format!("job_{family}_seconds"), "Time of a job.")
            .labels(["queue"])
            .register(&registry)
            .unwrap();
        for i in 0..10_000 / FAMILIES {
            jobs.with([&*format!("queue-{i}")]).add(i as u64);
        }
        for i in 0..1000 / FAMILIES {
            times
                .with([&*format!("queue-{i}")])
                .observe(i as f64 / 50.0);
        }
    }
    registry
}

/// Reads a page's stream until `stop`. Adds the processor time of this thread to `own` after each
/// event.
fn watch(address: SocketAddr, begun: &AtomicBool, stop: &AtomicBool, own: &Mutex<Duration>) {
    let mut stream = TcpStream::connect(address).unwrap();
    let mut query = String::from("open=job_0_seconds&limit=50");
    for family in 0..9 {
        query.push_str(&format!(
            "&seen=jobs_{family}_total&seen=job_{family}_seconds"
        ));
    }
    let request = format!("GET /live/stream?{query} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let timeout = Some(Duration::from_millis(200));
    stream.set_read_timeout(timeout).unwrap();
    let (mut buffer, mut before) = (vec![0; 1 << 18], clock(ClockId::ThreadCPUTime));
    while !stop.load(Relaxed) {
        // An error means that there is no event yet.
        if stream.read(&mut buffer).is_ok_and(|read| read > 0) {
            begun.store(true, Relaxed);
        }
        let now = clock(ClockId::ThreadCPUTime);
        *own.lock().unwrap() += now - before;
        before = now;
    }
}

/// Scrapes once and returns the time that it took.
fn scrape(address: SocketAddr) -> Duration {
    let mut stream = TcpStream::connect(address).unwrap();
    let asked = Instant::now();
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).unwrap();
    let (mut buffer, mut all) = (vec![0; 1 << 18], 0);
    loop {
        match stream.read(&mut buffer).unwrap() {
            0 => break,
            read => all += read,
        }
    }
    assert!(all > 100_000, "no page");
    asked.elapsed()
}

/// The figures of a number of pages, over all rounds.
#[derive(Default)]
struct Figures {
    times: Vec<Duration>,
    cpu: Duration,
    idle: Duration,
}

fn round(address: SocketAddr, pages: usize, figures: &mut Figures) {
    let (stop, own) = (AtomicBool::new(false), Mutex::new(Duration::ZERO));
    let begun: Vec<_> = (0..pages).map(|_| AtomicBool::new(false)).collect();
    std::thread::scope(|scope| {
        for begun in &begun {
            let (stop, own) = (&stop, &own);
            scope.spawn(move || watch(address, begun, stop, own));
        }
        while !begun.iter().all(|begun| begun.load(Relaxed)) {
            std::thread::yield_now();
        }
        // The processor time of the process, without that of its clients.
        let used = |work: &mut dyn FnMut()| {
            let clients = *own.lock().unwrap();
            let mine = clock(ClockId::ThreadCPUTime);
            let all = clock(ClockId::ProcessCPUTime);
            work();
            let all = clock(ClockId::ProcessCPUTime) - all;
            let mine = clock(ClockId::ThreadCPUTime) - mine;
            all.saturating_sub(mine)
                .saturating_sub(*own.lock().unwrap() - clients)
        };
        figures.idle += used(&mut || std::thread::sleep(ROUND));
        let end = Instant::now() + ROUND;
        figures.cpu += used(&mut || {
            while Instant::now() < end {
                figures.times.push(scrape(address));
            }
        });
        stop.store(true, Relaxed);
    });
}

fn main() {
    let serving = Server::new().registry(&registry()).live();
    let serving = serving.listen("127.0.0.1:0").unwrap();
    let mut all = [Figures::default(), Figures::default()];
    for _ in 0..ROUNDS {
        for (figures, pages) in all.iter_mut().zip([0, PAGES]) {
            round(serving.address(), pages, figures);
        }
    }
    println!("| pages open | scrapes | time, median (ms) | time, 99 % (ms) | CPU (ms) | pages |");
    println!("|---:|---:|---:|---:|---:|---:|");
    for (mut figures, pages) in all.into_iter().zip([0, PAGES]) {
        figures.times.sort_unstable();
        let n = figures.times.len();
        let time = |part: f64| figures.times[(n as f64 * part) as usize].as_secs_f64() * 1e3;
        println!(
            "| {pages} | {n} | {:.2} | {:.2} | {:.2} | {:.2} % |",
            time(0.5),
            time(0.99),
            figures.cpu.as_secs_f64() * 1e3 / n as f64,
            figures.idle.as_secs_f64() * 100.0 / (ROUND * ROUNDS as u32).as_secs_f64(),
        );
    }
    serving.stop();
}
