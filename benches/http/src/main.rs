//! Prints what a layer adds to a request: processor time and allocations.
//!
//! Run it with `cargo run --release`. Each row is one way to reply to `GET /users/7` with five
//! bytes. The body is read to its end, and there are no sockets. Each way runs on one thread, and
//! on two concurrent threads that share the service as a server's workers do. All ways take turns,
//! and the median of the rounds counts. The cost that a layer *adds* is the difference to the same
//! router or service without it.
//!
//! axum boxes each layer's service and future, and gives the response a body of its own. For
//! comparison there are two layers that measure nothing: one forwards every call, and one also
//! wraps the response's body.
//!
//! `cargo run --release -- <row> <requests>` runs that many requests in one way, for `perf stat`
//! and callgrind.

mod facade;
mod nothing;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::convert::Infallible;
use std::future::Ready;
use std::pin::pin;
use std::sync::Barrier;
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use axum::routing::get;
use axum::{Router, extract::Path};
use axum_prometheus::metrics_exporter_prometheus::PrometheusHandle;
use axum_prometheus::{GenericMetricLayer, Handle, PrometheusMetricLayerBuilder};
use http::{Request, Response};
use http_body_util::Full;
use tallies_http::{ServerLayer, ServerMetrics};
use tower::layer::layer_fn;
use tower::{Layer, Service, service_fn};

const ROUNDS: usize = 60;
const REQUESTS: u64 = 5000;
const THREADS: usize = 2;

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: forwards every call to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller upholds the contract of `GlobalAlloc::alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller upholds the contract of `GlobalAlloc::dealloc`.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Bytes = axum::body::Bytes;

/// Serves the given number of requests.
type Way = Box<dyn FnMut(u64)>;

/// Sends requests to a service whose responses are ready at once.
fn way<S, Q: 'static, B>(mut service: S, body: fn() -> Q) -> Way
where
    S: Service<Request<Q>, Response = Response<B>, Error = Infallible> + 'static,
    B: http_body::Body + 'static,
{
    Box::new(move |n| {
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..n {
            assert!(service.poll_ready(&mut cx).is_ready());
            let mut request = Request::new(body());
            *request.uri_mut() = http::Uri::from_static("/users/7");
            let Poll::Ready(Ok(response)) = pin!(service.call(request)).poll(&mut cx) else {
                panic!("an answer at once");
            };
            let mut body = pin!(response.into_body());
            while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
                assert!(frame.is_ok());
            }
        }
    })
}

fn router() -> Router {
    Router::new().route("/users/{id}", get(async |Path(_): Path<u32>| "hello"))
}

fn plain(_: Request<Full<Bytes>>) -> Ready<Result<Response<Full<Bytes>>, Infallible>> {
    std::future::ready(Ok(Response::new(Full::new(Bytes::from_static(b"hello")))))
}

/// The measuring layers. Each is created once, so threads share what its clones share.
struct Layers {
    tower: ServerLayer,
    axum: ServerLayer,
    peer: GenericMetricLayer<'static, PrometheusHandle, Handle>,
}

impl Layers {
    fn new() -> Self {
        let measured = |prefix: &str| {
            let metrics = ServerMetrics::new()
                .prefix(prefix)
                .templates(["/users/{id}"]);
            metrics.register(tallies::registry()).expect("good names")
        };
        // Both facade layers use one recorder, the exporter's.
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new()
            .set_buckets(&[
                0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
            ])
            .expect("good buckets");
        recorder.install_recorder().expect("the only recorder");
        Self {
            tower: measured("a_"),
            axum: measured("b_"),
            peer: PrometheusMetricLayerBuilder::new()
                .enable_response_body_size(true)
                .build(),
        }
    }

    /// Returns each way with its name and the index of the row that it is compared with.
    fn ways(&self) -> Vec<(&'static str, usize, Way)> {
        // Builds the router's services once, as `axum::serve` does. Otherwise every request would
        // assemble handlers and layers.
        let axum = |router: Router| way(router.with_state::<()>(()), Body::empty);
        vec![
            ("tower", 0, way(service_fn(plain), Full::default)),
            (
                "tower, tallies",
                0,
                way(self.tower.layer(service_fn(plain)), Full::default),
            ),
            (
                "tower, facade",
                0,
                way(facade::Measured(service_fn(plain)), Full::default),
            ),
            ("axum", 3, axum(router())),
            (
                "axum, nothing",
                3,
                axum(router().layer(layer_fn(nothing::Service))),
            ),
            (
                "axum, nothing and a body",
                3,
                axum(router().layer(layer_fn(nothing::with_body::<_, Body, _>))),
            ),
            ("axum, tallies", 3, axum(router().layer(self.axum.clone()))),
            (
                "axum, facade",
                3,
                axum(router().layer(layer_fn(facade::Measured))),
            ),
            (
                "axum, axum-prometheus",
                3,
                axum(router().layer(self.peer.clone())),
            ),
        ]
    }
}

/// Processor time of this thread in nanoseconds.
fn processor_time() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid pointer for the duration of the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Runs on each participating thread. Returns, for each way, the median processor time of a request
/// over the rounds, and its allocations.
fn measure(ways: &mut [(&'static str, usize, Way)], together: &Barrier) -> Vec<(f64, f64)> {
    let mut spent = vec![Vec::new(); ways.len()];
    let mut allocations = vec![0.0; ways.len()];
    for round in 0..=ROUNDS {
        for (i, (_, _, way)) in ways.iter_mut().enumerate() {
            together.wait();
            let (time, made) = (processor_time(), ALLOCATIONS.get());
            way(REQUESTS);
            let time = (processor_time() - time) as f64 / REQUESTS as f64;
            // The first round is a warm-up.
            if round > 0 {
                spent[i].push(time);
                allocations[i] = (ALLOCATIONS.get() - made) as f64 / REQUESTS as f64;
            }
        }
    }
    spent
        .iter_mut()
        .for_each(|spent| spent.sort_by(f64::total_cmp));
    spent
        .iter()
        .map(|spent| spent[ROUNDS / 2])
        .zip(allocations)
        .collect()
}

fn main() {
    let layers = Layers::new();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [row, requests] = &args[..] {
        let mut ways = layers.ways();
        let way = ways.iter_mut().find(|(name, ..)| name == row);
        let (_, _, way) = way.expect("a row of the table");
        return way(requests.parse().expect("a number of requests"));
    }
    println!(
        "{:<26} {:>8} {:>8} {:>8} {:>8}",
        "", "ns", "adds", "allocs", "adds"
    );
    for threads in [1, THREADS] {
        println!("{threads} thread{}", if threads > 1 { "s" } else { "" });
        let together = Barrier::new(threads);
        let measured = std::thread::scope(|scope| {
            let run = || measure(&mut layers.ways(), &together);
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
            let measured = run();
            others
                .into_iter()
                .for_each(|other| drop(other.join().expect("no panic")));
            measured
        });
        for ((name, base, _), (ns, allocs)) in layers.ways().iter().zip(&measured) {
            let (base_ns, base_allocs) = measured[*base];
            println!(
                "{name:<26} {ns:>8.0} {:>8.0} {allocs:>8.1} {:>8.1}",
                ns - base_ns,
                allocs - base_allocs
            );
        }
    }
}
