//! What `tests/soak.sh` runs: updates of every kind from threads that come and go, label sets that come and go, scrapes
//! over HTTP all the while. It fails if memory grows or a count is missing.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tallies::snapshot::Value;
use tallies::{Counter, Gauge, Histogram, Labels, Snapshot, UpDownCounter};

#[derive(Labels)]
struct Peer<'a> {
    peer: &'a str,
}

#[tallies::metric]
static PLAIN: Counter = Counter::new("soak_plain_total");
#[tallies::metric]
static FLOAT: Counter<(), f64> = Counter::new("soak_float_total");
#[tallies::metric]
static IN_FLIGHT: UpDownCounter = UpDownCounter::new("soak_in_flight");
#[tallies::metric]
static LEVEL: Gauge<Peer> = Gauge::new("soak_level").expire_after(Duration::from_millis(300));
#[tallies::metric]
static LATENCY: Histogram<Peer> =
    Histogram::new("soak_latency").expire_after(Duration::from_millis(300));
#[tallies::metric]
static MORTAL: Counter<Peer> =
    Counter::new("soak_mortal_total").expire_after(Duration::from_millis(300));

static NEXT: AtomicU64 = AtomicU64::new(0);

/// A thread's life: 2000 rounds, on label sets that are new every time.
fn live() {
    let me = NEXT.fetch_add(1, Relaxed);
    let peers = [format!("p{}", me % 7), format!("new{me}")];
    for i in 0..2000_u64 {
        let peer = &peers[i as usize % 2];
        PLAIN.inc();
        FLOAT.add(0.5);
        let _one = IN_FLIGHT.track();
        LEVEL.with(Peer { peer }).set(i as f64);
        LATENCY.with(Peer { peer }).observe(0.001 * i as f64);
        MORTAL.with(Peer { peer }).inc();
    }
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|kib| kib.trim().split(' ').next()?.parse().ok())
        .unwrap_or(0)
}

fn scrape(address: std::net::SocketAddr) -> std::io::Result<usize> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut page = Vec::new();
    stream.read_to_end(&mut page)
}

fn sum(snapshot: &Snapshot, name: &str) -> u64 {
    let family = snapshot.family(name).expect("declared above");
    family
        .series()
        .map(|(_, value)| match value {
            Value::Counter(n) => n.as_f64() as u64,
            Value::Histogram(h) => h.count(),
            _ => 0,
        })
        .sum()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds: u64 = std::env::args().nth(1).map_or(Ok(60), |s| s.parse())?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let serving = tallies::serve("127.0.0.1:0")?;
    let address = serving.address();
    let done = AtomicBool::new(false);
    let lives = AtomicU64::new(0);
    let mut samples = Vec::new();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    std::thread::scope(|inner| {
                        (0..4).for_each(|_| _ = inner.spawn(live));
                    });
                    lives.fetch_add(4, Relaxed);
                }
            });
        }
        scope.spawn(|| {
            while !done.load(Relaxed) {
                if let Err(error) = scrape(address) {
                    eprintln!("a scrape failed: {error}");
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        while Instant::now() < end {
            std::thread::sleep(Duration::from_secs((seconds / 40).max(1)));
            samples.push(resident());
        }
        done.store(true, Relaxed);
    });
    let rounds = 2000 * lives.load(Relaxed);
    let now = tallies::snapshot();
    for (name, expected) in [
        ("soak_plain_total", rounds),
        ("soak_float_total", rounds / 2),
        ("soak_latency", rounds),
        ("soak_mortal_total", rounds),
    ] {
        let counted = sum(&now, name);
        println!("{name}: {counted} counted of {expected}");
        assert_eq!(counted, expected, "{name}");
    }
    assert_eq!(now.get("soak_in_flight", &[]), Some(0.0));
    // The first quarter is the way there; the rest is flat but for noise.
    let settled = &samples[samples.len() / 4..];
    let half = settled.len() / 2;
    let mean = |samples: &[u64]| samples.iter().sum::<u64>() / samples.len().max(1) as u64;
    let (first, second) = (mean(&settled[..half]), mean(&settled[half..]));
    println!(
        "{seconds} s, {} threads lived, {} shards",
        lives.load(Relaxed),
        now.get("tallies_shards", &[]).unwrap_or(0.0)
    );
    println!("resident, KiB: {samples:?}; mean of the halves {first} and {second}");
    assert!(second <= first + first / 10 + 2048, "memory grows");
    serving.stop();
    Ok(())
}
