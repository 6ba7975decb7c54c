//! Sizes of requests: the bytes that a service reads from a request body, and the layer for
//! services that accept another type of body.
//!
//! The announced length of a body cannot be trusted, because a client can announce any length and
//! send nothing. So the layers wrap the body that the service gets. The wrapper counts what the
//! service reads, and the [`Exchange`] observes the count when it ends.
//!
//! The request body and the exchange may live in different tasks and end in any order, so they
//! share a counter. Only the body writes it; the exchange reads it once. `Relaxed` suffices,
//! because what the service read before its response happened before the exchange got the response.
//! Bytes that it reads later may or may not be included.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::body::Measured;
use super::exchange::{Exchange, fail_on_panic};
use super::server::{ServerFuture, ServerLayer, ServerService};

/// The counter of the bytes that a service has read from one request body.
#[derive(Clone, Debug)]
pub(super) struct BytesRead(Arc<AtomicU64>);

/// The largest number of unused counters that a thread keeps.
const MOST_SPARE: usize = 64;

thread_local! {
    /// Counters of requests that ended on this thread, all zero. The next requests take them
    /// instead of allocating.
    static SPARE: RefCell<Vec<Arc<AtomicU64>>> = const { RefCell::new(Vec::new()) };
}

impl BytesRead {
    /// Returns a counter that is zero.
    pub(super) fn zero() -> Self {
        let spare = SPARE.try_with(|spare| spare.borrow_mut().pop());
        // The thread may be ending.
        Self(spare.ok().flatten().unwrap_or_default())
    }

    /// Adds bytes that the service read. Only the body calls this, so a load and a store suffice.
    pub(super) fn add(&mut self, bytes: usize) {
        let read = self.0.load(Relaxed);
        self.0.store(read.wrapping_add(bytes as u64), Relaxed);
    }

    /// Returns the number of bytes, at the end of the exchange.
    pub(super) fn into_bytes(mut self) -> u64 {
        // If the body is gone, as is usual, another request may take the counter.
        let Some(counter) = Arc::get_mut(&mut self.0) else {
            return self.0.load(Relaxed);
        };
        let bytes = std::mem::take(counter.get_mut());
        let _ = SPARE.try_with(|spare| {
            let mut spare = spare.borrow_mut();
            if spare.len() < MOST_SPARE {
                spare.push(self.0);
            }
        });
        bytes
    }
}

impl ServerLayer {
    /// Returns a layer that counts the bytes that the service reads from request bodies, for
    /// services other than those of axum and actix-web, where [`ServerLayer`] itself counts them.
    /// Use it if such a service is open to the internet. Without it, the size of a request is the
    /// length that the client announces.
    ///
    /// The service gets a `Request<Measured<B>>` instead of a `Request<B>`. Services that accept
    /// any body, such as the routers of axum and tonic, need no change. A handler that names the
    /// type of the body names [`Measured`] around it:
    ///
    /// ```
    /// use http::{Request, Response};
    /// use http_body_util::{BodyExt, Full};
    /// use hyper::body::{Bytes, Incoming};
    /// use tallies_http::{Measured, ServerMetrics};
    ///
    /// // Without the layer: `Request<Incoming>`.
    /// async fn echo(request: Request<Measured<Incoming>>) -> hyper::Result<Response<Full<Bytes>>> {
    ///     let body = request.into_body().collect().await?;
    ///     Ok(Response::new(Full::new(body.to_bytes())))
    /// }
    ///
    /// # fn main() -> Result<(), tallies::Error> {
    /// let metrics = ServerMetrics::new().register(&tallies::Registry::new())?;
    /// let service = tower::ServiceBuilder::new()
    ///     .layer(metrics.count_request_bodies())
    ///     .service_fn(echo);
    /// # let _ = service;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// It allocates nothing once warm. A router that boxes bodies of other types, such as tonic's,
    /// allocates once more for each request.
    pub fn count_request_bodies(self) -> CountingLayer {
        CountingLayer(self)
    }
}

/// Measures every request to a server, and counts what the service reads from request bodies. A
/// tower layer: see [`ServerLayer::count_request_bodies`].
///
/// ```
/// use http_body_util::{BodyExt, Full};
/// use hyper::body::Bytes;
/// use tallies_http::{CountingLayer, Measured, ServerMetrics};
/// use tower::{ServiceBuilder, ServiceExt};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let registry = tallies::Registry::new();
/// let metrics: CountingLayer = ServerMetrics::new().register(&registry)?.count_request_bodies();
/// let service = ServiceBuilder::new()
///     .layer(metrics)
///     .service_fn(async |request: http::Request<Measured<Full<Bytes>>>| {
///         let _read = request.into_body().collect().await?;
///         Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
///     });
/// let request = http::Request::post("/").body(Full::new(Bytes::from("hello")))?;
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let response = service.oneshot(request).await;
/// assert!(response.is_ok());
/// # });
/// let labels = [("method", "POST"), ("route", "unmatched")];
/// assert_eq!(registry.snapshot().get("http_request_size_bytes_sum", &labels), Some(5.0));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CountingLayer(ServerLayer);

impl<S> Layer<S> for CountingLayer {
    type Service = CountingService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        CountingService(self.0.layer(inner))
    }
}

/// A service that measures its requests and counts what it reads from their bodies: see
/// [`ServerLayer::count_request_bodies`].
#[derive(Clone, Debug)]
pub struct CountingService<S>(ServerService<S>);

impl<S, B, R> Service<Request<B>> for CountingService<S>
where
    S: Service<Request<Measured<B>>, Response = Response<R>>,
    B: Body,
    R: Body,
{
    type Response = Response<Measured<R>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.0.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let ServerService { inner, server } = &mut self.0;
        let mut exchange = server.begin_http(&request);
        let read = exchange.as_mut().and_then(Exchange::count_request_body);
        let request = request.map(|body| Measured::new(body, None, read));
        let inner = fail_on_panic(&mut exchange, || inner.call(request));
        ServerFuture { inner, exchange }
    }
}

/// Counts what the service reads from this request, if its body is axum's. axum's body erases the
/// type of the body inside, so it can be wrapped and the type of the request stays the same.
#[cfg(feature = "axum")]
#[inline]
pub(super) fn count_axum_body<B: 'static>(exchange: &mut Option<Exchange>, body: &mut B) {
    let body: &mut dyn std::any::Any = body;
    if let Some(body) = body.downcast_mut::<axum::body::Body>()
        && let Some(read) = exchange.as_mut().and_then(Exchange::count_request_body)
    {
        let inner = std::mem::take(body);
        *body = axum::body::Body::new(Measured::new(inner, None, Some(read)));
    }
}

#[cfg(not(feature = "axum"))]
pub(super) fn count_axum_body<B: 'static>(_: &mut Option<Exchange>, _: &mut B) {}
