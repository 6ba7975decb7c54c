//! A child of `fork` either inherits its parent's counts or starts at zero.

#![cfg(unix)]
#![allow(unsafe_code, reason = "fork is")]

#[path = "support/fork.rs"]
mod fork;

use tallies::{Counter, Gauge, Histogram, LabelValue, Labels, Summary, UpDownCounter, registry};

static ALONE: Counter = Counter::new("fork_alone_total");
static SECONDS: Counter<(), f64> = Counter::new("fork_seconds_total");
static LEVEL: Gauge = Gauge::new("fork_level");
static IN_FLIGHT: UpDownCounter = UpDownCounter::new("fork_in_flight");
static LATENCY: Histogram = Histogram::new("fork_latency_seconds");
static SIZES: Summary = Summary::new("fork_sizes");
static PEERS: Counter<[&str; 1]> = Counter::labelled("fork_peers_total", &["peer"]);

#[derive(Labels)]
struct Direction {
    up: Up,
}

#[derive(LabelValue, Clone, Copy)]
enum Up {
    Yes,
    No,
}

static CLOSED: Histogram<Direction> = Histogram::new("fork_closed");

fn update() {
    ALONE.inc();
    SECONDS.add(0.5);
    LEVEL.set(3.0);
    IN_FLIGHT.inc();
    LATENCY.observe(0.1);
    SIZES.observe(7.0);
    PEERS.with(["a"]).inc();
    CLOSED.with(Direction { up: Up::Yes }).observe(1.0);
}

/// Returns every metric's count, in updates.
fn counted() -> [f64; 9] {
    let sizes = SIZES.get();
    [
        ALONE.get() as f64,
        SECONDS.get() * 2.0,
        LEVEL.get() / 3.0,
        IN_FLIGHT.get() as f64,
        LATENCY.get().count() as f64,
        sizes.count() as f64,
        sizes.sum() / 7.0,
        PEERS.find(["a"]).map(|series| series.get()).unwrap_or(0) as f64,
        CLOSED
            .find(Direction { up: Up::Yes })
            .map(|series| series.get())
            .map_or(0, |seen| seen.count()) as f64,
    ]
}

#[test]
fn a_child_goes_on_or_starts_at_zero() {
    // Enough updates for hot series, and few enough for cold ones.
    for times in [1.0, 5000.0] {
        while ALONE.get() < times as u64 {
            update();
        }
        let mut parent = [times; 9];
        parent[2] = 1.0;
        assert_eq!(counted(), parent);
        // An ended thread leaves its cells behind.
        std::thread::spawn(update).join().unwrap();
        // SAFETY: the child runs only the code below, and no other thread of the parent touches
        // metrics.
        let child = unsafe { libc::fork() };
        if child == 0 {
            let mut copied = [times + 1.0; 9];
            copied[2] = 1.0;
            let inherits = counted() == copied;
            registry().start_over();
            let zero = counted() == [0.0; 9] && SIZES.get().quantile(0.5).is_none();
            update();
            let counts = counted() == [1.0; 9]
                && registry()
                    .snapshot()
                    .get("fork_closed_sum", &[("up", "yes")])
                    == Some(1.0);
            let code = i32::from(!inherits) + 2 * i32::from(!zero) + 4 * i32::from(!counts);
            // SAFETY: ends this process without further effects.
            unsafe { libc::_exit(code) };
        }
        let mut status = 0;
        // SAFETY: `child` is our own child, and `status` is a valid pointer.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert!(
            libc::WIFEXITED(status),
            "the child did not end by itself: {status}"
        );
        assert_eq!(
            libc::WEXITSTATUS(status),
            0,
            "bits: 1 copy, 2 zero, 4 counting after"
        );
        let _ = Up::No;
        assert_eq!(ALONE.get(), times as u64 + 1, "the parent goes on");
        registry().start_over();
    }
}

/// The handle waited in the child for a thread of its parent, and blamed the gateway.
#[cfg(feature = "push")]
#[test]
fn a_child_does_not_wait_for_the_pushes_of_its_parent() {
    // Nobody answers.
    let gateway = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", gateway.local_addr().unwrap());
    let minutes = std::time::Duration::from_secs(600);
    let pusher = tallies::push::Pusher::new(&url, "worker").timeout(minutes);
    let [stopped, dropped] = [(); 2].map(|()| pusher.start(minutes).unwrap());
    fork::holds_in_a_child(move || {
        drop(dropped);
        let error = stopped.stop().unwrap_err().to_string();
        error.contains("it was started before a fork")
    });
}
