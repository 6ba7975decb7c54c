//! Collectors are the user's code: whatever they do, families of others are still exported.

use std::fmt;
use std::net::SocketAddr;
use std::panic::panic_any;

use tallies::{Registry, collect::Collected};

use crate::support::http::{Target, exchange, get, request};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// An error that panics when it is formatted, or when it is dropped.
#[derive(Debug)]
struct Bad {
    shown: bool,
    dropped: bool,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        assert!(!self.shown, "an error that cannot be shown");
        f.write_str("bad")
    }
}

impl std::error::Error for Bad {}

impl Drop for Bad {
    fn drop(&mut self) {
        assert!(!self.dropped, "an error that cannot be dropped");
    }
}

/// A panic payload that panics when it is dropped, with another such payload.
struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if self.0 > 0 {
            panic_any(Bomb(self.0 - 1));
        }
    }
}

/// The first such collector made the scrape fail, and every later scrape on that thread skipped all
/// collectors.
#[test]
fn a_collector_that_fails_badly_costs_its_own_families_only() {
    let registry = Registry::new();
    let shown = || -> Failure {
        Box::new(Bad {
            shown: true,
            dropped: false,
        })
    };
    let dropped = || -> Failure {
        Box::new(Bad {
            shown: false,
            dropped: true,
        })
    };
    registry
        .add_collector("shown", move |_: &mut Collected| Err(shown()))
        .unwrap();
    registry
        .add_collector("dropped", move |_: &mut Collected| Err(dropped()))
        .unwrap();
    registry
        .add_collector("payload", |_: &mut Collected| panic_any(Bomb(3)))
        .unwrap();
    registry
        .gauge_fn("bomb", "", || panic_any(Bomb(1)))
        .unwrap();
    registry.gauge_fn("good", "", || 7.0).unwrap();
    let other = Registry::new();
    other.gauge_fn("queue", "", || 4.0).unwrap();
    for scrape in 1..4 {
        let page = registry.snapshot();
        assert_eq!(page.get("good", &[]), Some(7.0));
        for name in ["shown", "dropped", "payload", "bomb"] {
            let errors = page.get("tallies_collect_errors_total", &[("collector", name)]);
            assert_eq!(errors, Some(f64::from(scrape)), "{name}");
        }
        assert_eq!(other.snapshot().get("queue", &[]), Some(4.0));
    }
}

/// A collector removes itself, and the scrape then drops the last reference to it.
#[test]
fn a_collector_that_cannot_be_dropped_is_contained() {
    struct Held(Bad);
    let registry = Registry::new();
    let held = Held(Bad {
        shown: false,
        dropped: true,
    });
    let own = registry.clone();
    registry
        .add_collector("once", move |out: &mut Collected| {
            own.remove("once")?;
            let _ = &held.0;
            Ok(out.gauge("last_words", "", &[], 1.0)?)
        })
        .unwrap();
    registry.gauge_fn("good", "", || 7.0).unwrap();
    for _ in 0..2 {
        assert_eq!(registry.snapshot().get("good", &[]), Some(7.0));
    }
}

/// The request waited for the pass that it was part of: until a timeout with a runtime, and forever
/// without one.
#[test]
fn a_collector_that_scrapes_its_own_server_gets_an_error() {
    use std::sync::{Arc, OnceLock};
    let registry = Registry::new();
    let address = Arc::new(OnceLock::new());
    let own = Arc::clone(&address);
    registry
        .add_collector("own", move |out: &mut Collected| {
            let address: &SocketAddr = own.get().expect("the server has started");
            let timeout = ["X-Prometheus-Scrape-Timeout-Seconds: 1"];
            let answer = exchange(address.open()?, &request("GET", "/metrics", &timeout))?;
            let status = answer.status().to_string();
            Ok(out.gauge("own_status", "", &[("status", &status)], 1.0)?)
        })
        .unwrap();
    let serving = tallies::serve::Server::new()
        .registry(&registry)
        .listen("127.0.0.1:0")
        .unwrap();
    address.set(serving.address()).unwrap();
    // Any other thread's scrape succeeds. The collector's own request times out after one second,
    // and this one waits for that.
    let page = get(&serving, "/metrics", &[]);
    let status = "own_status{status=\"503\"} 1\n";
    assert!(page.text().contains(status), "{page:?}");
    serving.stop();
}

/// The same on one thread: a service that is called without a runtime renders the page on the
/// calling thread.
#[test]
fn a_collector_that_calls_its_own_service_gets_an_error() {
    use std::task::{Context, Poll, Waker};
    let registry = Registry::new();
    let service = tallies::serve::MetricsService::of([&registry]);
    let ask = |service: tallies::serve::MetricsService| {
        let answer = service.answer(&http::Request::new(()));
        match std::pin::pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer.status().as_u16(),
            Poll::Pending => panic!("without a runtime it is done at once"),
        }
    };
    let inner = service.clone();
    let answers = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let inner_answers = std::sync::Arc::clone(&answers);
    registry
        .gauge_fn("inner_status", "", move || {
            let status = ask(inner.clone());
            inner_answers.lock().unwrap().push(status);
            f64::from(status)
        })
        .unwrap();
    assert_eq!(ask(service), 200);
    assert_eq!(*answers.lock().unwrap(), [500]);
}
