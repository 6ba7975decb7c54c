//! Clients that send nonsense, half a request, too much, or nothing; that read slowly or not at
//! all; that connect all at once, or disconnect in the middle. The service replies or disconnects
//! them, frees what they held, and serves other clients at the same time.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Barrier, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::support::eventually;
use crate::support::http::{connect, exchange, get, request, send};
use tallies::snapshot::{Cardinality, Snapshot, Source};
use tallies::{
    Counter, Registry,
    collect::Collected,
    serve::{Server, Serving},
};

/// A registry whose page is larger than any socket's buffers.
fn large() -> Registry {
    let registry = Registry::new();
    let family = Counter::builder("large_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    // Few and wide series: fast to create, slow to send.
    let wide = "x".repeat(8000);
    for i in 0..2000 {
        family.with([&format!("{i}{wide}")]).inc();
    }
    registry
}

fn small() -> Registry {
    let registry = Registry::new();
    registry.counter("served_total", "Served.").unwrap();
    registry
}

fn at_rest(serving: &Serving) {
    eventually("no connection is open", || serving.connections() == 0);
}

#[test]
fn two_hundred_at_once() {
    let registry = small();
    let counter = registry.counter("more_total", "More.").unwrap();
    let serving = Arc::new(
        Server::new()
            .registry(&registry)
            .listen("127.0.0.1:0")
            .unwrap(),
    );
    let start = Arc::new(Barrier::new(200));
    let threads: Vec<_> = (0..200)
        .map(|i| {
            let (serving, start, counter) =
                (Arc::clone(&serving), Arc::clone(&start), counter.clone());
            std::thread::spawn(move || {
                let header = ["Accept-Encoding: gzip", "Accept-Encoding: zstd", "X: y"][i % 3];
                let stream = connect(&*serving);
                start.wait();
                counter.inc();
                let answer = exchange(stream, &request("GET", "/metrics", &[header])).unwrap();
                assert_eq!(answer.status(), 200);
            })
        })
        .collect();
    threads.into_iter().for_each(|t| t.join().unwrap());
    at_rest(&serving);
    assert!(
        get(&*serving, "/metrics", &[])
            .text()
            .contains("more_total 200\n")
    );
}

#[test]
fn nonsense_half_requests_and_silence() {
    let serving = Server::new()
        .registry(&small())
        .head_timeout(Duration::from_millis(200))
        .listen("127.0.0.1:0")
        .unwrap();
    let enormous = format!(
        "GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n",
        "y".repeat(1 << 20)
    );
    let many = format!(
        "GET /metrics HTTP/1.1\r\n{}\r\n",
        "a: b\r\n".repeat(100_000)
    );
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "p".repeat(1 << 20));
    let nonsense: [&[u8]; 9] = [
        b"",
        b"GET /metrics HTTP/1.1\r\nHo",
        b"\x16\x03\x01\x02\x00 not http at all\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 18446744073709551615\r\n\r\n",
        enormous.as_bytes(),
        many.as_bytes(),
        long.as_bytes(),
    ];
    // The client waits; the server disconnects it, with a 4xx response at most.
    for sent in nonsense {
        let mut stream = connect(&serving);
        // The server may disconnect the client while it still sends.
        let _ = stream.write_all(sent);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty()
                || answer.starts_with("HTTP/1.1 4")
                || answer.starts_with("HTTP/1.0 4"),
            "{answer}"
        );
        assert_eq!(get(&serving, "/metrics", &[]).status(), 200);
    }
    // The client disconnects first.
    for sent in nonsense {
        let mut stream = connect(&serving);
        let _ = stream.write_all(&sent[..sent.len() / 2]);
    }
    assert_eq!(get(&serving, "/metrics", &[]).status(), 200);
    at_rest(&serving);
    serving.stop();
}

#[test]
fn clients_that_disconnect_leave_nothing_behind() {
    let serving = Server::new()
        .registry(&large())
        .listen("127.0.0.1:0")
        .unwrap();
    for i in 0..40 {
        let mut stream = connect(&serving);
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            .unwrap();
        let mut some = [0; 4096];
        if i % 2 == 0 {
            stream.read_exact(&mut some).unwrap();
        }
        if i % 3 == 0 {
            stream.shutdown(Shutdown::Both).unwrap();
        }
    }
    assert_eq!(get(&serving, "/", &[]).status(), 200);
    at_rest(&serving);
    serving.stop();
}

#[test]
fn clients_that_do_not_read_are_cut_off_and_others_are_served() {
    let serving = Server::new()
        .registry(&large())
        .answer_timeout(Duration::from_secs(8))
        .listen("127.0.0.1:0")
        .unwrap();
    let stuck: Vec<TcpStream> = (0..20)
        .map(|_| {
            let mut stream = connect(&serving);
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap();
            stream
        })
        .collect();
    eventually("all of them have connected", || serving.connections() == 20);
    // There are more slow readers than concurrent scrapes allowed, yet the service still replies.
    let answer = get(&serving, "/metrics?name[]=none", &[]);
    assert_eq!((answer.status(), answer.body.len()), (200, 0));
    at_rest(&serving);
    drop(stuck);
    serving.stop();
}

/// The kernel held 128 and dropped the others, which tried again after a second.
#[cfg(target_os = "linux")]
#[test]
fn a_burst_of_connections_waits_for_a_service_that_is_busy() {
    let kernel = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    let burst = kernel.trim().parse().unwrap_or(0).min(400);
    let server = Server::new().registry(&small()).address("127.0.0.1:0");
    let bound = server.bind().unwrap();
    let address = bound.addresses()[0];
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
    let burst: Vec<_> = (0..burst).map(connect).collect();
    let serving = bound.start().unwrap();
    drop(burst);
    assert_eq!(get(&serving, "/metrics", &[]).status(), 200);
    serving.stop();
}

#[test]
fn connections_beyond_the_limit_wait() {
    let serving = Server::new()
        .registry(&small())
        .connections(3)
        .head_timeout(Duration::from_millis(500))
        .address("127.0.0.1:0")
        .listen("127.0.0.1:0")
        .unwrap();
    let idle: Vec<_> = (0..30).map(|_| connect(&serving)).collect();
    eventually("there are as many as may be", || serving.connections() == 3);
    // The request is served once the connections before it have timed out.
    assert_eq!(get(&serving, "/metrics", &[]).status(), 200);
    assert!(serving.connections() <= 3);
    drop(idle);
    at_rest(&serving);
    serving.stop();
}

/// Blocks a collector until the gate opens.
struct Gate(Mutex<bool>, Condvar);

impl Gate {
    fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(false), Condvar::new()))
    }

    fn wait(&self) {
        let open = self.0.lock().unwrap();
        let _open = self
            .1
            .wait_timeout_while(open, Duration::from_secs(60), |open| !*open)
            .unwrap();
    }

    fn open(&self) {
        *self.0.lock().unwrap() = true;
        self.1.notify_all();
    }
}

#[test]
fn a_scrape_that_takes_too_long_says_so() {
    let (registry, gate) = (small(), Gate::new());
    let inside = Arc::clone(&gate);
    registry
        .add_collector("slow", move |out: &mut Collected| {
            inside.wait();
            Ok(out.gauge("slow", "Slow.", &[], 1.0)?)
        })
        .unwrap();
    let serving = Server::new()
        .registry(&registry)
        .concurrent_scrapes(2)
        .answer_timeout(Duration::from_secs(30))
        .listen("127.0.0.1:0")
        .unwrap();
    let hurried = ["X-Prometheus-Scrape-Timeout-Seconds: 0.05"];
    // More requests than concurrent scrapes allowed: hanging scrapes take no further permits or
    // threads.
    for _ in 0..8 {
        let answer = get(&serving, "/metrics", &hurried);
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert_eq!(get(&serving, "/-/healthy", &[]).status(), 200);
    }
    gate.open();
    let answer = get(&serving, "/metrics", &[]);
    assert_eq!(answer.status(), 200);
    assert!(answer.text().contains("slow 1\n"));
    at_rest(&serving);
    serving.stop();
}

/// Responses in flight are completed; idle connections are closed at once.
#[test]
fn a_stop_drains() {
    let (registry, gate) = (small(), Gate::new());
    let (inside, begun) = (Arc::clone(&gate), Gate::new());
    let begins = Arc::clone(&begun);
    registry
        .add_collector("slow", move |out: &mut Collected| {
            begins.open();
            inside.wait();
            Ok(out.gauge("slow", "Slow.", &[], 1.0)?)
        })
        .unwrap();
    let serving = Server::new()
        .registry(&registry)
        .listen("127.0.0.1:0")
        .unwrap();
    let address = serving.address();
    let mut idle = connect(&serving);
    let under_way = connect(&serving);
    let asking = std::thread::spawn(move || {
        let answer = exchange(under_way, &request("GET", "/metrics", &[])).unwrap();
        assert_eq!(answer.status(), 200);
        assert!(answer.text().contains("slow 1\n"));
    });
    begun.wait();
    let stopping = std::thread::spawn(move || serving.stop());
    eventually("nobody listens", || TcpStream::connect(address).is_err());
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "the idle one has ended");
    gate.open();
    asking.join().unwrap();
    stopping.join().unwrap();
}

/// A registry with a page of about 2 MB, which the kernel used to buffer as a whole.
fn middling() -> Registry {
    let registry = Registry::new();
    let family = Counter::builder("middling_total", "")
        .labels(["x"])
        .register(&registry)
        .unwrap();
    let wide = "x".repeat(8000);
    (0..250).for_each(|i| family.with([&format!("{i}{wide}")]).inc());
    registry
}

/// A response used to count as delivered once the kernel had buffered it. The service then closed
/// the connection, and 2 MB of kernel memory stayed for minutes.
#[cfg(target_os = "linux")]
#[test]
fn a_reader_that_reads_nothing_parks_no_page_in_the_kernel() {
    let serving = Server::new()
        .registry(&middling())
        .answer_timeout(Duration::from_secs(2))
        .listen("127.0.0.1:0")
        .unwrap();
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&serving.address().into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.write_all(&request("GET", "/metrics", &[])).unwrap();
    // Waits for the answer, and takes nothing of it.
    stream.peek(&mut [0]).unwrap();
    at_rest(&serving);
    // The page was not taken, and a reset discarded what the kernel still buffered.
    let mut page = Vec::new();
    let read = stream.read_to_end(&mut page);
    assert!(
        read.is_err() && page.len() < 1 << 20,
        "{read:?} {}",
        page.len()
    );
}

/// Idle connections up to the limit used to keep out all other clients, for as long as they liked.
#[test]
fn idle_connections_make_room_for_others() {
    let serving = Server::new()
        .registry(&small())
        .connections(8)
        .listen("127.0.0.1:0")
        .unwrap();
    let idle: Vec<_> = (0..8)
        .map(|_| {
            let mut stream = connect(&serving);
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
                .unwrap();
            let mut some = [0; 16];
            stream.read_exact(&mut some).unwrap();
            stream
        })
        .collect();
    for _ in 0..20 {
        assert_eq!(get(&serving, "/metrics", &[]).status(), 200);
    }
    drop(idle);
    at_rest(&serving);
}

/// Each slow reader of a page of its own used to hold that page in memory: 1 500 MB for 128 readers
/// of 11 MB each.
#[test]
fn slow_readers_hold_a_bounded_memory() {
    let registry = large();
    registry.counter("other_total", "Not asked for.").unwrap();
    let serving = Server::new()
        .registry(&registry)
        .page_memory(64 << 20)
        .listen("127.0.0.1:0")
        .unwrap();
    let slow: Vec<_> = (0..12)
        .map(|_| {
            let mut stream = connect(&serving);
            stream
                .write_all(&request("GET", "/metrics?name[]=large_total", &[]))
                .unwrap();
            // The first bytes prove that this page is rendered, before the next request starts.
            let mut some = [0; 16];
            stream.read_exact(&mut some).map(|()| stream).ok()
        })
        .collect();
    // Each page takes 16 MB. Of twelve readers the slowest are disconnected, and a later client is
    // served.
    let honest = get(&serving, "/metrics?name[]=large_total", &[]);
    assert_eq!(honest.status(), 200);
    let whole = slow.into_iter().flatten().filter(|stream| {
        let mut stream = stream;
        stream
            .read_to_end(&mut Vec::new())
            .is_ok_and(|n| n > 15 << 20)
    });
    assert!(whole.count() < 9, "somebody was let go");
}

#[test]
fn refusals_and_probes_end_their_connection_and_nothing_is_sniffed() {
    let serving = Server::new()
        .registry(&small())
        .hosts(["metrics.local"])
        .listen("127.0.0.1:0")
        .unwrap();
    for (method, path, host, status, closes) in [
        ("GET", "/metrics", "metrics.local:80", 200, false),
        ("GET", "/", "metrics.local", 200, false),
        ("GET", "/-/healthy", "metrics.local", 200, true),
        ("GET", "/nowhere", "metrics.local", 404, true),
        ("POST", "/metrics", "metrics.local", 405, true),
        ("GET", "/metrics", "evil.example", 403, true),
    ] {
        // Two pipelined requests: the second gets a response only if the first leaves the
        // connection open.
        let said = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let more = request("GET", "/-/healthy", &[]);
        let answer = send(&serving, &[said.as_bytes(), &more].concat());
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(
            answer.header("connection") == Some("close"),
            closes,
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let further = answer.text().matches("HTTP/1.1 ").count();
        assert_eq!(further, usize::from(!closes), "{path}: {}", answer.text());
    }
    serving.stop();
}

/// Scrapes like an honest client, several times, while others attack. Each try is answered within
/// the client's own timeout of 30 s, and so is the health check. Prints the longest time.
fn scrapes_are_answered(attack: &str, serving: &Serving, path: &str) {
    let mut worst = Duration::ZERO;
    for _ in 0..5 {
        for path in [path, "/-/healthy"] {
            let begun = Instant::now();
            assert_eq!(get(serving, path, &[]).status(), 200, "{attack}: {path}");
            worst = worst.max(begun.elapsed());
        }
    }
    println!("{attack}: the slowest of 5 scrapes and health checks took {worst:.2?}");
}

/// A registry of many families, and a small one.
fn wide(families: usize, series: usize) -> Registry {
    let registry = small();
    for family in 0..families {
        let name = format!("family_{family}_total");
        let family = Counter::builder(&name, "Many.")
            .labels(["pod", "target"])
            .register(&registry)
            .unwrap();
        (0..series).for_each(|i| family.with(["web-frontend", &*i.to_string()]).inc());
    }
    registry
}

/// Streams of the live page with long searches took the threads of the scrapes: no scrape was
/// answered for as long as 64 of them were open. Those that had left cost as much.
#[test]
fn long_searches_of_live_pages_leave_scrapes_alone() {
    let serving = Server::new()
        .registry(&wide(2, 5000))
        .live()
        .listen("127.0.0.1:0")
        .unwrap();
    let search = ",t+".repeat(66);
    let path = format!("/live/stream?match={search}&seen=family_1_total");
    let ask = || {
        let mut stream = connect(&serving);
        stream.write_all(&request("GET", &path, &[])).unwrap();
        stream
    };
    for _ in 0..100 {
        let mut left = ask();
        left.read_exact(&mut [0; 12]).unwrap();
    }
    let open: Vec<_> = (0..32).map(|_| ask()).collect();
    scrapes_are_answered("live", &serving, "/metrics?name[]=served_total");
    drop(open);
    serving.stop();
}

/// Connections that never waited for a request, because the next one was there, were never idle,
/// and so kept all others out.
#[test]
fn pipelined_requests_on_all_connections_keep_nobody_out() {
    let serving = Server::new()
        .registry(&small())
        .connections(16)
        .listen("127.0.0.1:0")
        .unwrap();
    let pipelined = b"HEAD /metrics?name[]=x HTTP/1.1\r\nHost: x\r\n\r\n".repeat(500);
    let ended = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for _ in 0..20 {
            threads.spawn(|| {
                while !ended.load(Relaxed) {
                    let stream = connect(&serving);
                    std::thread::scope(|both| {
                        both.spawn(|| std::io::copy(&mut &stream, &mut std::io::sink()));
                        // Without an end, until the service closes the connection.
                        let write = || (&stream).write_all(&pipelined);
                        while !ended.load(Relaxed) && write().is_ok() {
                            std::thread::yield_now();
                        }
                        let _ = stream.shutdown(Shutdown::Both);
                    });
                }
            });
        }
        let honest = threads.spawn(|| scrapes_are_answered("pipeline", &serving, "/metrics"));
        let result = honest.join();
        ended.store(true, Relaxed);
        result.unwrap();
    });
    at_rest(&serving);
    serving.stop();
}

/// A registry whose reports wait for a gate.
#[derive(Clone)]
struct SlowReports {
    registry: Registry,
    gate: Arc<Gate>,
    begun: Arc<AtomicBool>,
}

impl Source for SlowReports {
    fn snapshot_into(&self, snapshot: &mut Snapshot) {
        self.registry.snapshot_into(snapshot);
    }

    fn cardinality(&self) -> Cardinality {
        self.begun.store(true, Relaxed);
        self.gate.wait();
        self.registry.cardinality()
    }
}

/// A report takes long, and 200 of them at once took the threads of the scrapes.
#[test]
fn reports_leave_scrapes_alone() {
    let reports = SlowReports {
        registry: small(),
        gate: Gate::new(),
        begun: Arc::default(),
    };
    let serving = Server::new()
        .registry(&reports)
        .listen("127.0.0.1:0")
        .unwrap();
    let mut asked: Vec<_> = (0..40)
        .map(|_| {
            let mut stream = connect(&serving);
            let report = request("GET", "/-/cardinality", &[]);
            stream.write_all(&report).unwrap();
            stream
        })
        .collect();
    eventually("a report is being made", || reports.begun.load(Relaxed));
    scrapes_are_answered("reports", &serving, "/metrics");
    reports.gate.open();
    for stream in &mut asked {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    serving.stop();
}
