//! HTTP servers: the layer, and its wrappers of services and futures.

mod settings;

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::body::{Measured, length};
use super::counting::count_axum_body;
use super::exchange::{Exchange, FailureKind, PanicGuard, fail_on_panic};
use super::routes::Routes;
use super::templates::Templates;

use settings::RouteFn;
pub use settings::ServerMetrics;

/// Measures every request to a server. A tower layer and, with the feature `actix`, a middleware of
/// actix-web.
///
/// [`ServerMetrics::register`] creates it. Clones share everything. The shared memory, a few
/// kilobytes and the routes, is never freed, so create a layer once.
#[derive(Clone, Debug)]
pub struct ServerLayer {
    pub(super) server: &'static ServerState,
}

/// The state that all clones of a layer share. Read-only, except that `routes` grows.
#[derive(Debug)]
pub(super) struct ServerState {
    routes: &'static Routes,
    templates: Templates,
    find: Option<RouteFn>,
}

impl ServerState {
    /// Starts measuring a request. Returns `None` if its path or its route is excluded.
    #[inline]
    pub(super) fn begin(
        &self,
        method: &str,
        path: &str,
        route: Option<&str>,
        received: Option<u64>,
    ) -> Option<Exchange> {
        let route = match route {
            Some(name) => self.routes.named(name),
            None => self.templates.find(path).unwrap_or(&self.routes.unmatched),
        };
        if route.excluded || self.routes.excludes(path) {
            return None;
        }
        let endpoint = self.routes.endpoint(method, route);
        Some(Exchange::begin(endpoint, received))
    }

    pub(super) fn begin_http<B: Body>(&self, request: &Request<B>) -> Option<Exchange> {
        let (uri, extensions) = (request.uri(), request.extensions());
        let route = self.find.as_ref();
        let route = route.and_then(|find| (find.0)(uri, extensions));
        #[cfg(feature = "axum")]
        let route = route.or_else(|| {
            let matched = extensions.get::<axum::extract::MatchedPath>();
            matched.map(axum::extract::MatchedPath::as_str)
        });
        let (body, headers) = (request.body(), request.headers());
        let empty = body.is_end_stream().then_some(0);
        let received = empty.or_else(|| length(body, headers));
        self.begin(request.method().as_str(), uri.path(), route, received)
    }
}

impl<S> Layer<S> for ServerLayer {
    type Service = ServerService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ServerService {
            inner,
            server: self.server,
        }
    }
}

/// A service that measures its requests: see [`ServerLayer`].
#[derive(Clone, Debug)]
pub struct ServerService<S> {
    pub(super) inner: S,
    pub(super) server: &'static ServerState,
}

impl<S, B, R> Service<Request<B>> for ServerService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body + 'static,
    R: Body,
{
    type Response = Response<Measured<R>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let mut exchange = self.server.begin_http(&request);
        count_axum_body(&mut exchange, request.body_mut());
        // Does not use `fail_on_panic`, whose closure would move the request once more. The future
        // is built in place and not moved afterwards.
        let guard = PanicGuard(&mut exchange);
        let mut future = ServerFuture {
            inner: self.inner.call(request),
            exchange: None,
        };
        std::mem::forget(guard);
        future.exchange = exchange;
        future
    }
}

pin_project! {
    /// The future that [`ServerService`] returns.
    #[derive(Debug)]
    pub struct ServerFuture<F> {
        #[pin]
        pub(super) inner: F,
        pub(super) exchange: Option<Exchange>,
    }
}

impl<F, R, E> Future for ServerFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<Measured<R>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(fail_on_panic(this.exchange, || this.inner.poll(cx)));
        Poll::Ready(match result {
            Ok(response) => Ok(Measured::response(response, this.exchange.take())),
            Err(error) => {
                Exchange::end(this.exchange, Some(FailureKind::Error));
                Err(error)
            }
        })
    }
}
