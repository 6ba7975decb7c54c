//! Prints what a layer adds to a request: processor time, and allocations.
//!
//! `cargo run --release`. Each row is one way to answer `GET /users/7` with five bytes, body read to its end, on one thread and
//! without sockets; all ways take turns, and the least of the rounds counts. What a layer *adds* is told from the same
//! router or service without it; beside it stands a layer that does nothing, as axum boxes every layer's service and future.
//!
//! `cargo run --release -- <row> <requests>` answers so many requests in one way, for `perf stat` and callgrind.

mod facade;

use std::alloc::{GlobalAlloc, Layout, System};
use std::convert::Infallible;
use std::future::Ready;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll, Waker};

use axum::body::Body;
use axum::routing::get;
use axum::{Router, extract::Path};
use http::{Request, Response};
use http_body_util::Full;
use tallies::http::ServerMetrics;
use tower::layer::layer_fn;
use tower::{Layer, Service, service_fn};

const ROUNDS: usize = 60;
const REQUESTS: u64 = 5000;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Relaxed);
        // SAFETY: the caller's word.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's word.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

type Bytes = axum::body::Bytes;

/// Answers `n` requests.
type Way = Box<dyn FnMut(u64)>;

/// Answers requests by a service that has its answers at once.
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

#[derive(Clone)]
struct Nothing<S>(S);

impl<S: Service<R>, R> Service<R> for Nothing<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

/// Name, the place of the row that it is measured against, and the way.
fn ways() -> Vec<(&'static str, usize, Way)> {
    let measured = |prefix: &str| {
        let metrics = ServerMetrics::new().prefix(prefix).templates(["/users/{id}"]);
        metrics.register(tallies::registry()).expect("good names")
    };
    // Both of the peers count through one recorder: the exporter's.
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new()
        .set_buckets(&[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
        .expect("good buckets");
    recorder.install_recorder().expect("the only recorder");
    let peer = axum_prometheus::PrometheusMetricLayerBuilder::new().enable_response_body_size(true).build();
    vec![
        ("tower", 0, way(service_fn(plain), Full::default)),
        ("tower, tallies", 0, way(measured("a_").layer(service_fn(plain)), Full::default)),
        ("tower, facade", 0, way(facade::Measured(service_fn(plain)), Full::default)),
        ("axum", 3, way(router(), Body::empty)),
        ("axum, a layer of nothing", 3, way(router().layer(layer_fn(Nothing)), Body::empty)),
        ("axum, tallies", 3, way(router().layer(measured("b_")), Body::empty)),
        ("axum, facade", 3, way(router().layer(layer_fn(facade::Measured)), Body::empty)),
        ("axum, axum-prometheus", 3, way(router().layer(peer), Body::empty)),
    ]
}

/// This thread's processor time, in nanoseconds.
fn processor_time() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is ours to write.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn main() {
    let mut ways = ways();
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [row, requests] = &args[..] {
        let way = ways.iter_mut().find(|(name, ..)| name == row);
        let (_, _, way) = way.expect("a row of the table");
        return way(requests.parse().expect("a number of requests"));
    }
    let mut least = vec![f64::INFINITY; ways.len()];
    let mut allocations = vec![0.0; ways.len()];
    for round in 0..=ROUNDS {
        for (i, (_, _, way)) in ways.iter_mut().enumerate() {
            let (time, made) = (processor_time(), ALLOCATIONS.load(Relaxed));
            way(REQUESTS);
            let spent = (processor_time() - time) as f64 / REQUESTS as f64;
            // The first round is to warm up.
            if round > 0 {
                least[i] = least[i].min(spent);
                allocations[i] = (ALLOCATIONS.load(Relaxed) - made) as f64 / REQUESTS as f64;
            }
        }
    }
    println!("{:<26} {:>8} {:>8} {:>8} {:>8}", "", "ns", "adds", "allocs", "adds");
    for (i, (name, base, _)) in ways.iter().enumerate() {
        println!(
            "{name:<26} {:>8.0} {:>8.0} {:>8.1} {:>8.1}",
            least[i],
            least[i] - least[*base],
            allocations[i],
            allocations[i] - allocations[*base],
        );
    }
}
