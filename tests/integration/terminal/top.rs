//! The viewer: its screen, its keys, and endpoints that do not behave.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use tallies::serve::Serving;
use tallies::{Counter, Gauge, Histogram, Registry, Summary, serve::Server};

use crate::screen::{TOOL, Terminal, line_with};
use crate::support::eventually;

fn serve(registry: &Registry) -> Serving {
    let server = Server::new().registry(registry);
    server.listen("127.0.0.1:0").unwrap()
}

/// Adds a gauge that counts how often it was read.
fn count_scrapes(registry: &Registry) -> Arc<AtomicU64> {
    let scrapes = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&scrapes);
    let count = move || counted.fetch_add(1, Relaxed) as f64;
    registry
        .gauge_fn("scrapes_so_far", "Scrapes.", count)
        .unwrap();
    scrapes
}

fn until_scraped_again(scrapes: &AtomicU64) {
    let before = scrapes.load(Relaxed);
    eventually("three more scrapes", || scrapes.load(Relaxed) >= before + 3);
}

#[test]
fn the_figures_are_those_of_the_page() {
    let registry = Registry::new();
    registry
        .counter("jobs_total", "Jobs done.")
        .unwrap()
        .add(1234);
    registry.gauge("level", "A level.").unwrap().set(-2.5);
    let sent = Counter::builder("sent_bytes_total", "Sent.").unit("bytes");
    let sent = sent.labels(["peer"]).register(&registry).unwrap();
    sent.with(["a"]).add(1024);
    sent.with(["b"]).add(3072);
    let wait = Histogram::builder("wait_seconds", "Time in the queue.").buckets(&[0.1, 0.2, 0.4]);
    let wait = wait.register(&registry).unwrap();
    let latency = Summary::builder("latency_seconds", "Time.")
        .register(&registry)
        .unwrap();
    (1..=100).for_each(|i| latency.observe(f64::from(i) / 1000.0));
    let serving = serve(&registry);
    let mut terminal = Terminal::top(40, 120, &[&serving.metrics_url()]);
    terminal.line(&["jobs_total", "counter", "1234"]);
    terminal.line(&["level", "gauge", "-2.50"]);
    terminal.line(&["sent_bytes_total  ×2", "4 KiB"]);
    terminal.line(&["latency_seconds", "summary", "ms"]);
    let line = terminal.line(&["●", "5 families", "6 series"]);
    assert!(line.contains(&serving.metrics_url()), "{line}");
    // Enter ends the search and opens the family that it found. It once only ended the search.
    terminal.keys("/sent\r");
    terminal.eventually("the search", |text| !text.contains("jobs_total"));
    terminal.line(&["{peer=\"a\"}", "1 KiB"]);
    terminal.line(&["{peer=\"b\"}", "3 KiB"]);
    terminal.keys("\x1b");
    // Between two pages, all observations fall into one bucket.
    terminal.line(&["wait_seconds", "histogram"]);
    terminal.keys("/wait\r");
    terminal.line(&["Time in the queue."]);
    // They go on until that was seen: a busy machine misses the screen of a single page.
    let observed = std::thread::scope(|scope| {
        let (stop, stopped) = channel::<()>();
        let wait = &wait;
        let observing = scope.spawn(move || {
            let mut observed = 0;
            while stopped.recv_timeout(Duration::from_millis(50)) == Err(RecvTimeoutError::Timeout)
            {
                wait.observe_many(0.15, 1000);
                observed += 1000;
            }
            observed
        });
        // Nothing more than that bucket is known of them.
        terminal.eventually("one bucket", |text| {
            line_with(text, &["p50", "≤ 200.0 ms"]).is_some()
                && line_with(text, &["p99", "≤ 200.0 ms"]).is_some()
                && line_with(text, &["average", "150.0 ms"]).is_some()
                && line_with(text, &["≤ 200.0 ms", "█"]).is_some()
                && line_with(text, &["≤ 100.0 ms"]).is_some_and(|row| !row.contains('█'))
        });
        drop(stop);
        observing.join().unwrap()
    });
    terminal.line(&["count", &observed.to_string()]);
    // What grew between two pages has a rate, and what rests has none.
    let page = registry.snapshot();
    assert_eq!(
        page.get("wait_seconds_count", &[]),
        Some(f64::from(observed))
    );
    terminal.line(&["now", " 0/s"]);
}

/// States once were 1, start times numbers, temperatures sums, and summaries nothing.
#[test]
fn each_kind_shows_what_is_known() {
    #[derive(tallies::LabelValue)]
    enum Pump {
        Off,
        Running,
    }
    let registry = Registry::new();
    let pump = tallies::StateSet::builder("pump_state", "").register(&registry);
    let pump = pump.unwrap();
    pump.set(Pump::Off);
    pump.set(Pump::Running);
    let start = registry.gauge("process_start_time_seconds", "").unwrap();
    start.set(1_795_356_721.0);
    let rooms = Gauge::builder("room_celsius", "").labels(["room"]);
    let rooms = rooms.register(&registry).unwrap();
    rooms.with(["cellar"]).set(12.0);
    rooms.with(["roof"]).set(25.0);
    let payments = Summary::builder("payment_seconds", "").labels(["bank"]);
    let payments = payments.register(&registry).unwrap();
    payments.with(["north"]).observe(0.25);
    payments.with(["south"]).observe(0.5);
    let sizes = Histogram::builder("size_bytes", "").native(3);
    let sizes = sizes.register(&registry).unwrap();
    let own = registry.counter("tallies_scrapes_total", "").unwrap();
    let scrapes = count_scrapes(&registry);
    let serving = serve(&registry);
    let mut terminal = Terminal::top(40, 120, &[&serving.metrics_url()]);
    terminal.line(&["pump_state  ×2", "states", " running "]);
    terminal.line(&["process_start_time_seconds", "2026-11-22 14:12Z"]);
    terminal.line(&["room_celsius  ×2", " 12–25 "]);
    terminal.line(&["payment_seconds  ×2", " ~250.0–500.0 ms "]);
    // The text has no native buckets.
    sizes.observe(100.0);
    until_scraped_again(&scrapes);
    terminal.line(&["size_bytes", "histogram", " – "]);
    // The ones about the metrics are the last row, until it is opened.
    own.inc();
    let text = terminal.eventually("the last row", |text| text.contains("tallies_…  ×1"));
    assert!(!text.contains("tallies_scrapes_total"), "{text}");
    terminal.keys("G\r");
    terminal.line(&["tallies_scrapes_total", "counter"]);
    terminal.keys("?");
    terminal.line(&["search names and labels; Enter opens, Esc ends", "│"]);
}

/// They once were in the order of their names, so that those of a library filled the screen.
#[test]
fn what_moves_is_first() {
    let registry = Registry::new();
    for name in ["a_rests", "b_rests"] {
        registry.gauge(name, "").unwrap().set(1.0);
    }
    registry.counter("c_rests_total", "").unwrap().add(1);
    let scrapes = count_scrapes(&registry);
    let serving = serve(&registry);
    let mut terminal = Terminal::top(40, 120, &[&serving.metrics_url()]);
    until_scraped_again(&scrapes);
    let order = |text: &str| {
        let names = ["scrapes_so_far", "a_rests", "b_rests", "c_rests"];
        let places = names.map(|name| text.find(name));
        places.is_sorted() && places[0].is_some()
    };
    terminal.eventually("what moves, then the others by name", |text| {
        text.contains("by what moves") && order(text)
    });
    // By name.
    terminal.keys("s");
    terminal.eventually("by name", |text| {
        text.contains("by name") && text.find("a_rests") < text.find("scrapes_so_far")
    });
    terminal.keys("q");
    assert_eq!(terminal.ended(), 0);
}

/// As on the live page.
#[test]
fn the_process_is_below_what_the_program_measures() {
    let registry = Registry::new();
    for name in ["process_threads", "queue_length"] {
        registry.gauge(name, "").unwrap().set(1.0);
    }
    let serving = serve(&registry);
    let mut terminal = Terminal::top(40, 120, &[&serving.metrics_url()]);
    let text = terminal.eventually("both", |text| text.contains("process_threads"));
    assert!(
        text.find("queue_length") < text.find("process_threads"),
        "{text}"
    );
    terminal.keys("q");
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn a_search_finds_names_and_labels_and_sorting_changes_the_order() {
    let registry = Registry::new();
    let sizes = Gauge::builder("size", "Sizes.").labels(["kind"]);
    let sizes = sizes.register(&registry).unwrap();
    sizes.with(["apple"]).set(1.0);
    sizes.with(["Banana"]).set(50.0);
    registry.gauge("alone", "Alone.").unwrap().set(7.0);
    registry.gauge("bold", "Bold.").unwrap().set(9.0);
    let serving = serve(&registry);
    let mut terminal = Terminal::top(30, 100, &[&serving.metrics_url()]);
    let order = |text: &str, names: [&str; 3]| {
        let mut places = names.map(|name| text.lines().position(|line| line.contains(name)));
        let found = places;
        places.sort();
        places == found && places[0].is_some()
    };
    terminal.eventually("by name", |text| order(text, ["alone", "bold", "size  ×2"]));
    terminal.keys("sss");
    terminal.eventually("by value", |text| {
        text.contains("by value") && order(text, ["size  ×2", "bold", "alone"])
    });
    terminal.keys("r");
    terminal.eventually("reversed", |text| {
        order(text, ["alone", "bold", "size  ×2"])
    });
    // A label finds its series, though the family is closed.
    terminal.keys("/bAn");
    let text = terminal.eventually("the series", |text| text.contains("kind=\"Banana\""));
    assert!(!text.contains("apple"), "{text}");
    terminal.eventually("only it", |text| !text.contains("bold"));
    terminal.keys("xyz");
    terminal.eventually("nothing", |text| {
        text.contains("nothing has this name or these labels")
    });
    terminal.keys("\x1b");
    terminal.eventually("everything", |text| {
        order(text, ["alone", "bold", "size  ×2"])
    });
    terminal.keys("?");
    terminal.eventually("the help", |text| {
        text.contains("show or hide the series of a family")
    });
    terminal.keys("?");
    terminal.eventually("no help", |text| !text.contains("show or hide"));
}

#[test]
fn a_pause_holds_the_figures_and_ends_with_the_newest() {
    let registry = Registry::new();
    let scrapes = count_scrapes(&registry);
    let level = registry.gauge("level", "A level.").unwrap();
    level.set(41.25);
    let serving = serve(&registry);
    let mut terminal = Terminal::top(30, 100, &[&serving.metrics_url()]);
    terminal.line(&["level", "41.25"]);
    terminal.keys(" ");
    terminal.line(&["PAUSED"]);
    level.set(42.75);
    until_scraped_again(&scrapes);
    terminal.line(&["level", "41.25"]);
    assert!(!terminal.text().contains("42.75"), "{}", terminal.text());
    terminal.keys("p");
    terminal.line(&["level", "42.75"]);
    terminal.eventually("no pause", |text| !text.contains("PAUSED"));
}

/// Waits until the port of a stopped server is free, and serves there.
fn serve_again(registry: &Registry, address: std::net::SocketAddr) -> Serving {
    eventually("the port", || {
        Server::new().registry(registry).listen(address)
    })
}

/// A program that is restarted counts from zero: its rate is never negative.
#[test]
fn an_endpoint_that_is_away_is_shown_as_such_and_its_reset_is_counted() {
    let registry = Registry::new();
    registry
        .counter("jobs_total", "Jobs done.")
        .unwrap()
        .add(5000);
    let serving = serve(&registry);
    let (address, url) = (serving.address(), serving.metrics_url());
    let mut terminal = Terminal::top(30, 120, &[&url, "--search", "jobs"]);
    terminal.line(&["jobs_total", "5000"]);
    serving.stop();
    terminal.line(&["✗", "away for", "Connection refused"]);
    terminal.line(&["last page", "ago"]);
    // What was last seen stays on the screen.
    terminal.line(&["jobs_total", "5000"]);
    let registry = Registry::new();
    let jobs = registry.counter("jobs_total", "Jobs done.").unwrap();
    jobs.add(3);
    let serving = serve_again(&registry, address);
    let line = terminal.line(&["jobs_total", "counter", " 3 "]);
    assert!(!line.contains('-') && !line.contains('−'), "{line}");
    terminal.line(&["●", "1 families"]);
    terminal.line(&["resets", "1"]);
    jobs.add(4);
    terminal.line(&["jobs_total", "counter", " 7 "]);
    terminal.line(&["resets", "1"]);
    terminal.keys("q");
    assert_eq!(terminal.ended(), 0);
    drop(serving);
}

/// The one that hangs delays no other.
#[test]
fn an_endpoint_that_hangs_is_shown_as_such_beside_another() {
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let hangs = format!("http://{}/metrics", hanging.local_addr().unwrap());
    let registry = Registry::new();
    let scrapes = count_scrapes(&registry);
    let level = registry.gauge("level", "A level.").unwrap();
    level.set(1.0);
    let serving = serve(&registry);
    let url = serving.metrics_url();
    let mut terminal = Terminal::top(30, 110, &["--timeout", "5", &hangs, &url]);
    terminal.line(&["2 level", "gauge"]);
    terminal.line(&["…", &hangs, "no answer for"]);
    until_scraped_again(&scrapes);
    level.set(77.0);
    terminal.line(&["2 level", "77"]);
    terminal.line(&["✗", &hangs, "no answer in time"]);
    // Only the first endpoint, only the second, all.
    terminal.keys("e");
    terminal.eventually("none of the second", |text| !text.contains("level"));
    terminal.keys("e");
    terminal.line(&["2 level", "77"]);
    terminal.keys("e");
    terminal.line(&["2 level", "77"]);
}

#[test]
fn a_line_that_is_no_sample_is_named_and_the_others_are_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/metrics", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        // Ends with the test's process.
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(
                b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\
                  Connection: close\r\n\r\na 1\n<html>\n\n",
            );
        }
    });
    let terminal = Terminal::top(20, 120, &[&url]);
    terminal.line(&["!", "Prometheus refuses this page: line 2"]);
}

#[test]
fn a_series_that_vanishes_while_it_is_watched_is_shown_as_gone() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["queue"]);
    let jobs = jobs.register(&registry).unwrap();
    jobs.with(["mail"]).add(5);
    jobs.with(["print"]).add(6);
    let serving = serve(&registry);
    let mut terminal = Terminal::top(30, 100, &[&serving.metrics_url()]);
    terminal.line(&["jobs_total  ×2", "11"]);
    terminal.keys("\x1b[C");
    terminal.line(&["{queue=\"mail\"}", "5"]);
    terminal.keys("\x1b[B");
    terminal.line(&["jobs_total{queue=\"mail\"}", "Jobs done."]);
    jobs.remove(["mail"]);
    terminal.line(&["jobs_total{queue=\"mail\"}", "gone from the page"]);
    terminal.eventually("it is forgotten", |text| !text.contains("mail"));
    terminal.line(&["{queue=\"print\"}", "6"]);
}

/// Texts from outside cannot write to the terminal.
#[test]
fn control_characters_in_labels_are_shown_and_not_obeyed() {
    let registry = Registry::new();
    let jobs = Gauge::builder("jobs", "Clear\u{1b}[2J the screen.").labels(["queue"]);
    let jobs = jobs.register(&registry).unwrap();
    jobs.with(["\u{1b}[2J\u{1b}]0;title\u{7}\nnext \u{202e}right"])
        .set(3.0);
    let serving = serve(&registry);
    let terminal = Terminal::top(24, 160, &[&serving.metrics_url()]);
    let line = terminal.line(&["jobs{queue=", "gauge"]);
    assert!(
        line.contains("\\u{1b}[2J") && line.contains("\\n"),
        "{line}"
    );
    assert!(line.contains("\\u{202e}right"), "{line}");
    let text = terminal.eventually("the help text", |text| text.contains("the screen."));
    assert!(text.starts_with("tallies top"), "{text}");
    assert!(!text.contains('\u{202e}'), "{text}");
}

#[test]
fn the_screen_follows_the_size_of_the_terminal() {
    let registry = Registry::new();
    for i in 0..40 {
        let name = format!("level_{i:02}");
        registry.gauge(&name, "A level.").unwrap().set(f64::from(i));
    }
    let serving = serve(&registry);
    let mut terminal = Terminal::top(40, 120, &[&serving.metrics_url()]);
    let kind = |text: &str| text.contains("KIND");
    terminal.eventually("all columns", |text| {
        kind(text) && text.contains("level_00")
    });
    terminal.resize(12, 50);
    terminal.eventually("fewer columns", |text| {
        !kind(text) && text.contains("level_00") && !text.contains("level_20")
    });
    // The last row, then a page up and the first one.
    terminal.keys("G");
    terminal.line(&["level_39"]);
    terminal.keys("\x1b[5~");
    terminal.eventually("a page up", |text| {
        !text.contains("level_39") && text.contains("level_31")
    });
    terminal.keys("g");
    terminal.line(&["level_00"]);
    terminal.resize(3, 15);
    terminal.eventually("too small", |text| text.contains("too small"));
    terminal.resize(50, 130);
    terminal.eventually("all columns", |text| {
        kind(text) && text.contains("level_25")
    });
    terminal.keys("d");
    terminal.eventually("no details", |text| text.contains("level_39"));
}

#[test]
fn ten_thousand_series_are_one_row_until_they_are_searched() {
    let registry = Registry::new();
    let jobs = Counter::builder("jobs_total", "Jobs done.").labels(["id"]);
    let jobs = jobs.register(&registry).unwrap();
    (0..10_000).for_each(|i| jobs.with([&format!("id-{i}")]).add(2));
    let serving = serve(&registry);
    let mut terminal = Terminal::top(30, 100, &[&serving.metrics_url()]);
    terminal.line(&["jobs_total  ×10000", "20000"]);
    terminal.keys("/id-9876\r");
    let text = terminal.eventually("the series", |text| text.contains("{id=\"id-9876\"}"));
    assert!(!text.contains("id-1\""), "{text}");
}

/// A heat map is colored, or shaded where colors are unwanted.
#[test]
fn no_color_means_no_color() {
    let registry = Registry::new();
    let wait = Histogram::builder("wait_seconds", "Time in the queue.").buckets(&[0.1, 0.2]);
    let wait = wait.register(&registry).unwrap();
    let scrapes = count_scrapes(&registry);
    let serving = serve(&registry);
    for colors in [true, false] {
        let url = serving.metrics_url();
        let arguments = ["--search", "wait", &url];
        let terminal = Terminal::with_colors(colors, 30, 100, &arguments);
        terminal.line(&["wait_seconds", "histogram"]);
        until_scraped_again(&scrapes);
        wait.observe_many(0.15, 10);
        terminal.eventually("the heat map", |text| {
            let row = text.lines().find(|line| line.contains("≤ 200.0 ms"));
            row.is_some_and(|row| row.contains('█'))
        });
        let screen = terminal.screen();
        let cells = (0..30).flat_map(|row| (0..100).map(move |col| (row, col)));
        let colored = cells
            .filter_map(|(row, col)| screen.cell(row, col))
            .filter(|cell| cell.fgcolor() != vt100::Color::Default)
            .count();
        assert_eq!(colored > 0, colors, "{colored}");
    }
}

fn folder(name: &str) -> PathBuf {
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let dir = dir.join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Https with an own authority, and a password in the URL, which is never shown.
#[test]
fn https_and_a_password_in_the_url() {
    let dir = folder("top-tls");
    let certified = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (dir.join("certificate.pem"), dir.join("key.pem"));
    std::fs::write(&certificate, certified.cert.pem()).unwrap();
    std::fs::write(&key, certified.signing_key.serialize_pem()).unwrap();
    let registry = Registry::new();
    registry.gauge("level", "A level.").unwrap().set(5.0);
    let server = Server::new()
        .registry(&registry)
        .basic_auth("me", "p@ss:word")
        .certificate(&certificate)
        .private_key(&key);
    let serving = server.listen("127.0.0.1:0").unwrap();
    let at = |login: &str| {
        format!(
            "https://{login}localhost:{}/metrics",
            serving.address().port()
        )
    };
    let (right, wrong) = (at("me:p%40ss:word@"), at("me:secret@"));
    let ca = certificate.to_str().unwrap();
    let terminal = Terminal::top(30, 130, &["--ca", ca, &right, &wrong]);
    terminal.line(&["1 level", "gauge", "5"]);
    terminal.line(&["✗ 2", "401 Unauthorized"]);
    let text = terminal.text();
    assert!(!text.contains("secret") && !text.contains("word"), "{text}");
    let untrusting = Terminal::top(30, 130, &[&right]);
    untrusting.line(&["✗ 1", "certificate"]);
    drop((terminal, untrusting));
    serving.stop();
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn every_end_leaves_the_terminal_as_it_was() {
    let registry = Registry::new();
    registry.gauge("level", "A level.").unwrap();
    let serving = serve(&registry);
    for end in ["q", "\u{3}", "SIGTERM"] {
        let mut terminal = Terminal::top(24, 80, &[&serving.metrics_url()]);
        terminal.line(&["level"]);
        assert!(terminal.screen().alternate_screen() && terminal.screen().hide_cursor());
        match end {
            "SIGTERM" => {
                let id = terminal.child.process_id().unwrap().to_string();
                assert!(Command::new("kill").arg(id).status().unwrap().success());
            }
            keys => terminal.keys(keys),
        }
        assert_eq!(terminal.ended(), 0, "{end:?}");
        eventually("the terminal as it was", || {
            let screen = terminal.screen();
            !screen.alternate_screen() && !screen.hide_cursor()
        });
    }
}

#[test]
fn wrong_arguments_are_explained() {
    for (arguments, words) in [
        (&[][..], "Usage:"),
        (&["ftp://x:secret@127.0.0.1/"], "http or https"),
        (&["http://x:secret@/metrics"], "`http:///metrics`"),
        (&["http://x:a/secret@127.0.0.1/metrics"], "`%2F`"),
        (&["x:secret://127.0.0.1/metrics"], "http or https"),
        (&["--interval", "0", "127.0.0.1:1"], "from 0.05 to 3600"),
        (&["--ca", "/nonexistent", "127.0.0.1:1"], "/nonexistent"),
        (&["127.0.0.1:1"], "has to be a terminal"),
    ] {
        let run = Command::new(&*TOOL)
            .arg("top")
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8(run.stderr).unwrap();
        assert_eq!(run.status.code(), Some(2), "{said}");
        assert!(said.contains(words) && !said.contains("secret"), "{said}");
    }
}
