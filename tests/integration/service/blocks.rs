//! Pages of many blocks: they are whole for every client, whatever other clients do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::negotiation::gunzipped;
use crate::support::eventually;
use crate::support::http::{Answer, ask, get, request, send};
use tallies::{Counter, Histogram, Registry, collect::Collected, encode, serve::Server};

const FORMATS: [&str; 3] = [
    "text/plain;version=0.0.4",
    "application/openmetrics-text;version=1.0.0",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
];

/// A registry whose page has 3 KB for each of these histograms and four times as many counters.
fn large(histograms: u64) -> Registry {
    let registry = Registry::new();
    let counter = Counter::builder("a_total", "")
        .labels(["x"])
        .limit(4 * histograms as usize)
        .register(&registry)
        .unwrap();
    let histogram = Histogram::builder("b_seconds", "")
        .labels(["x"])
        .limit(histograms as usize)
        .register(&registry)
        .unwrap();
    registry.counter("c_total", "").unwrap().inc();
    for i in 0..4 * histograms {
        let wide = format!("{:040}", i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        counter.with([&wide]).add(i);
        if i % 4 == 0 {
            histogram.with([&wide]).observe(i as f64 / 1e4);
        }
    }
    registry
}

fn decoded(answer: &Answer) -> Vec<u8> {
    match answer.header("content-encoding") {
        Some("gzip") => gunzipped(&answer.body),
        Some("zstd") => zstd::decode_all(&answer.body[..]).unwrap(),
        other => {
            assert_eq!(other, None);
            answer.body.clone()
        }
    }
}

#[test]
fn a_large_page_is_the_page_in_every_format_and_coding() {
    let registry = large(3_000);
    let serving = Server::new()
        .registry(&registry)
        .listen("127.0.0.1:0")
        .unwrap();
    for format in FORMATS {
        let (_, page) = encode::render(&registry.snapshot(), format);
        assert!(page.len() > 1 << 20);
        let accept = format!("Accept: {format}");
        for coding in ["identity", "gzip", "zstd"] {
            let accepts = format!("Accept-Encoding: {coding}");
            let headers = [&*accept, &*accepts];
            let whole = get(&serving, "/metrics", &headers);
            assert_eq!(whole.status(), 200);
            assert_eq!(whole.header("transfer-encoding"), Some("chunked"));
            assert_eq!(whole.header("content-length"), None);
            assert!(decoded(&whole) == page, "{format}, {coding}");
            let one = get(&serving, "/metrics?name[]=c_total", &headers);
            let length = one.header("content-length").unwrap();
            assert_eq!(length, one.body.len().to_string());
            let head = ask(&serving, "HEAD", "/metrics", &headers);
            assert_eq!((head.status(), head.body.len()), (200, 0));
            assert_eq!(head.header("content-length"), None);
            for name in ["content-type", "content-encoding", "vary"] {
                assert_eq!(head.header(name), whole.header(name), "{name}");
            }
        }
    }
    // HTTP/1.0 has no chunks.
    let old = send(&serving, b"GET /metrics HTTP/1.0\r\n\r\n");
    assert_eq!(old.header("transfer-encoding"), None);
    assert!(old.body == encode::text(&registry.snapshot()).as_bytes());
    serving.stop();
}

/// Levels change the length, not the page. Those that do not exist are the nearest ones that do.
#[test]
fn levels_can_be_set() {
    let registry = large(300);
    let page = encode::text(&registry.snapshot());
    let lengths = [(0, 0), (1, 1), (6, 19), (9, 20), (10, 99)].map(|(gzip, zstd)| {
        let server = Server::new()
            .registry(&registry)
            .gzip_level(gzip)
            .zstd_level(zstd);
        let serving = server.listen("127.0.0.1:0").unwrap();
        let lengths = ["gzip", "zstd"].map(|coding| {
            let accepts = format!("Accept-Encoding: {coding}");
            let answer = get(&serving, "/metrics", &[&accepts]);
            assert!(decoded(&answer) == page.as_bytes());
            answer.body.len()
        });
        serving.stop();
        lengths
    });
    for coding in [0, 1] {
        let [below, first, high, last, above] = lengths.map(|lengths| lengths[coding]);
        assert!(
            below == first && high < first && last == above,
            "{lengths:?}"
        );
    }
}

/// Asks for the page and reads its first bytes. The kernel buffers little of the rest.
fn begin(serving: &tallies::serve::Serving, headers: &[&str]) -> (TcpStream, Vec<u8>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&serving.address().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream
        .write_all(&request("GET", "/metrics", headers))
        .unwrap();
    let mut some = vec![0; 1000];
    stream.read_exact(&mut some).unwrap();
    (stream, some)
}

/// A reader far behind makes its blocks again, in the same coding and from the same scrape.
#[test]
fn readers_of_any_speed_get_the_page_they_asked_for() {
    let registry = large(3_000);
    let late = registry.counter("z_total", "").unwrap();
    let serving = Server::new()
        .registry(&registry)
        .answer_timeout(Duration::from_secs(300))
        .listen("127.0.0.1:0")
        .unwrap();
    for coding in ["identity", "gzip", "zstd"] {
        let accepts = format!("Accept-Encoding: {coding}");
        let page = encode::text(&registry.snapshot());
        let slow: Vec<_> = (0..3).map(|_| begin(&serving, &[&accepts])).collect();
        late.inc();
        for _ in 0..2 {
            let quick = decoded(&get(&serving, "/metrics", &[&accepts]));
            assert_eq!(quick.len(), page.len());
            assert!(quick != page.as_bytes(), "it has the update since");
        }
        for (mut stream, mut answer) in slow {
            stream.read_to_end(&mut answer).unwrap();
            assert!(
                decoded(&Answer::read(&answer)) == page.as_bytes(),
                "{coding}"
            );
        }
    }
    eventually("no connection is open", || serving.connections() == 0);
    serving.stop();
}

/// Each block in time used to be enough, once pages came in blocks.
#[test]
fn a_steady_reader_has_a_limited_time_for_all_blocks() {
    let registry = large(5_000);
    let serving = Server::new()
        .registry(&registry)
        .answer_timeout(Duration::from_secs(2))
        .listen("127.0.0.1:0")
        .unwrap();
    let (mut stream, mut answer) = begin(&serving, &[]);
    let began = Instant::now();
    let mut some = [0; 32 << 10];
    // 15 MB would take 23 s.
    while let Ok(1..) = stream
        .read(&mut some)
        .inspect(|n| answer.extend(&some[..*n]))
    {
        assert!(began.elapsed() < Duration::from_secs(12), "it is cut off");
        // The pace of the reader.
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!answer.ends_with(b"\r\n0\r\n\r\n"));
    eventually("no connection is open", || serving.connections() == 0);
    serving.stop();
}

/// A body waits for a compressed block without writing anything, so the limit of its reader does
/// not end it.
#[test]
fn a_page_ends_if_its_blocks_are_never_made() {
    let registry = large(3_000);
    let (hang, (opens, gate)) = (Arc::new(AtomicBool::new(false)), mpsc::channel::<()>());
    let (hangs, gate) = (Arc::clone(&hang), std::sync::Mutex::new(gate));
    registry
        .add_collector("hangs", move |out: &mut Collected| {
            if hangs.load(Relaxed) {
                let _ = gate.lock().unwrap().recv_timeout(Duration::from_secs(60));
            }
            Ok(out.gauge("hangs", "", &[], 1.0)?)
        })
        .unwrap();
    let serving = Server::new()
        .registry(&registry)
        .concurrent_scrapes(1)
        .answer_timeout(Duration::from_secs(2))
        .listen("127.0.0.1:0")
        .unwrap();
    let (mut stream, mut answer) = begin(&serving, &["Accept-Encoding: gzip"]);
    hang.store(true, Relaxed);
    // The only thread that makes blocks is in the collector now.
    assert_eq!(get(&serving, "/metrics", &[]).status(), 503);
    let read = stream.read_to_end(&mut answer);
    assert!(!answer.ends_with(b"\r\n0\r\n\r\n"), "{read:?}");
    hang.store(false, Relaxed);
    opens.send(()).unwrap();
    eventually("no connection is open", || serving.connections() == 0);
    assert_eq!(get(&serving, "/metrics", &[]).status(), 200);
    serving.stop();
}

#[test]
fn a_stop_waits_for_all_blocks() {
    let registry = large(3_000);
    let serving = Server::new()
        .registry(&registry)
        .listen("127.0.0.1:0")
        .unwrap();
    let address = serving.address();
    let (mut stream, mut answer) = begin(&serving, &[]);
    let stopping = std::thread::spawn(move || serving.stop());
    eventually("nobody listens", || TcpStream::connect(address).is_err());
    stream.read_to_end(&mut answer).unwrap();
    let page = encode::text(&registry.snapshot());
    assert!(Answer::read(&answer).body == page.as_bytes());
    stopping.join().unwrap();
}
