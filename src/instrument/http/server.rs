//! Servers: the layer, its settings, and what it wraps services, futures and bodies in.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Extensions, HeaderMap, Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::error::Error;
use crate::registry::Registry;

use super::exchange::{Came, Exchange, Failure, Watch, watched};
use super::families::{Families, Making};
use super::routes::Routes;
use super::scheme::{AIOPROMETHEUS, AIOPROMETHEUS_EXCLUDES, OPENTELEMETRY, PROMETHEUS, Scheme};
use super::templates::{Template, Templates};

type Find = dyn for<'a> Fn(&'a Uri, &'a Extensions) -> Option<&'a str> + Send + Sync;

/// What a server layer measures, and how that is called; [`register`](Self::register) makes the layer.
///
/// | | [`new`](Self::new) | [`opentelemetry`](Self::opentelemetry) |
/// |---|---|---|
/// | requests answered | `http_requests_total{method,route,status}` | the count of the duration |
/// | seconds to the end of the body | `http_request_duration_seconds{method,route,status}` | `http_server_request_duration_seconds{..}` |
/// | seconds to the head | `http_response_start_seconds{method,route}` | `http_server_response_start_seconds{..}` |
/// | seconds of event streams | `http_stream_duration_seconds{method,route}` | `http_server_stream_duration_seconds{..}` |
/// | being answered | `http_requests_in_flight{method,route}` | `http_server_active_requests{http_request_method}` |
/// | bytes of request bodies, as announced; not of more than 4 GiB | `http_request_size_bytes{method,route}` | `http_server_request_body_size_bytes{..}` |
/// | bytes of response bodies, as sent | `http_response_size_bytes{method,route}` | `http_server_response_body_size_bytes{..}` |
/// | failed | `http_requests_failed_total{method,route,kind}` | the label `error_type` |
///
/// where `{..}` is `{http_request_method,http_route,http_response_status_code,error_type}`.
///
/// A method that is none of RFC 9110's and not PATCH counts as `other` (under OpenTelemetry's names as `_OTHER`), a path of no
/// route as `unmatched`.
///
/// A request is counted once, whatever becomes of it: with the status of its response; or, without one, with 499 if the
/// client left and 500 if the handler panicked or the service failed (under OpenTelemetry's names without a status). A
/// body that fails afterwards is a failure of kind `body`, a client that leaves one of kind `cancelled`.
///
/// An upgraded connection (a websocket) is a request with status 101, and is not timed: it goes on where no layer sees it.
/// Streams of events (`text/event-stream`, `application/x-ndjson`, `multipart/x-mixed-replace`, of unknown length) have a
/// family of their own, as they last as long as somebody listens; that their client leaves is no failure. Under
/// OpenTelemetry's names, where durations are what counts requests, both are in the duration as well: streams to their end,
/// upgrades to their head.
///
/// Request bodies that come in chunks announce no length and are not observed: the `_count` of their sizes is that much
/// smaller than the number of requests.
///
/// ```
/// use axum::{Router, routing::get};
/// use tallies::http::ServerMetrics;
///
/// # fn main() -> Result<(), tallies::Error> {
/// let metrics = ServerMetrics::new().exclude(["/healthy"]).register(tallies::registry())?;
/// let app: Router = Router::new()
///     .route("/users/{id}", get(async || "a user"))
///     .layer(metrics);
/// # Ok(())
/// # }
/// ```
///
/// A server without a router of its own names its routes:
///
/// ```
/// use tallies::http::ServerMetrics;
///
/// # fn main() -> Result<(), tallies::Error> {
/// let metrics = ServerMetrics::opentelemetry()
///     .templates(["/", "/users/{id}", "/files/{*path}"])
///     .register(tallies::registry())?;
/// let service = tower::ServiceBuilder::new()
///     .layer(metrics)
///     .service_fn(async |request: http::Request<String>| Ok::<_, std::io::Error>(http::Response::new(request.into_body())));
/// # let _ = service;
/// # Ok(())
/// # }
/// ```
///
/// So does one on tonic, whose router does not say what it matched: `templates(["/shop.Orders/Place"])`, and the layer goes to
/// `Server::builder().layer(..)`. A call is over with its trailers; the gRPC status in them is not looked at, so the status is
/// that of HTTP, 200 for nearly every call.
#[derive(Clone)]
#[must_use = "nothing is measured before `register`"]
pub struct ServerMetrics {
    scheme: Scheme,
    prefix: String,
    constant: Vec<(String, String)>,
    exclude: Vec<Box<str>>,
    templates: Vec<Box<str>>,
    find: Option<Arc<Find>>,
    limit: usize,
}

impl std::fmt::Debug for ServerMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerMetrics")
            .field("prefix", &self.prefix)
            .field("exclude", &self.exclude)
            .finish_non_exhaustive()
    }
}

impl Default for ServerMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerMetrics {
    fn of(scheme: Scheme) -> Self {
        Self {
            scheme,
            prefix: String::new(),
            constant: Vec::new(),
            exclude: Vec::new(),
            templates: Vec::new(),
            find: None,
            limit: 1000,
        }
    }

    /// Under the names that most Prometheus libraries use.
    pub fn new() -> Self {
        Self::of(PROMETHEUS)
    }

    /// Under the names of OpenTelemetry's semantic conventions for HTTP, as its Prometheus exporter spells them. The
    /// scheme, which a server does not know, is given as [`constant("url_scheme", "https")`](Self::constant).
    pub fn opentelemetry() -> Self {
        Self::of(OPENTELEMETRY)
    }

    /// The four counters of aioprometheus' middleware, and nothing else: `requests_total_counter`,
    /// `responses_total_counter` and `exceptions_total_counter` by `method` and `path`, `status_codes_counter` also by
    /// `status_code`; its paths are excluded (`/metrics`, `/docs`, `/favicon.ico` and so on). `path` is the matched route.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let metrics = tallies::http::ServerMetrics::aioprometheus().register(&registry)?;
    /// let app: axum::Router = axum::Router::new().layer(metrics);
    /// # Ok(())
    /// # }
    /// ```
    pub fn aioprometheus() -> Self {
        Self::of(AIOPROMETHEUS).exclude(AIOPROMETHEUS_EXCLUDES)
    }

    /// Puts `prefix` before every name, with an underscore between them, unless it ends in one or in anything else that is
    /// no ASCII letter or digit.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let metrics = tallies::http::ServerMetrics::new().prefix("shop").register(&registry)?;
    /// assert!(registry.snapshot().family("shop_http_requests_total").is_some());
    /// # let _ = metrics;
    /// # Ok(())
    /// # }
    /// ```
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// A label that every series has.
    pub fn constant(mut self, name: &str, value: &str) -> Self {
        self.constant.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Routes and paths that are not measured, as they are written; replaces those of before, also those of a preset. None at
    /// all are `None::<&str>`, as an empty array does not say of what.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let all = tallies::http::ServerMetrics::aioprometheus().exclude(None::<&str>);
    /// let metrics = all.register(&tallies::Registry::new())?;
    /// # let _ = metrics;
    /// # Ok(())
    /// # }
    /// ```
    pub fn exclude<T: AsRef<str>>(mut self, paths: impl IntoIterator<Item = T>) -> Self {
        self.exclude = paths.into_iter().map(|path| path.as_ref().into()).collect();
        self
    }

    /// `2xx` instead of `204` as status.
    pub fn status_class(mut self) -> Self {
        self.scheme.status_class = true;
        self
    }

    /// Without the family of seconds to the head: an observation less, and of an answer with a body a reading of the clock,
    /// some 40 ns together.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let metrics = tallies::http::ServerMetrics::new().without_head_time().register(&registry)?;
    /// assert!(registry.snapshot().family("http_response_start_seconds").is_none());
    /// # let _ = metrics;
    /// # Ok(())
    /// # }
    /// ```
    pub fn without_head_time(mut self) -> Self {
        self.scheme.headers = None;
        self
    }

    /// The bounds of durations, in seconds. Checked by [`register`](Self::register).
    pub fn buckets(mut self, seconds: &[f64]) -> Self {
        self.scheme.buckets = Cow::Owned(seconds.to_vec());
        self
    }

    /// Routes of a server that has no router to ask, behind those of before; a path is of the first that it matches. `{name}`
    /// stands for one segment or its end, `{*name}` at the end for all that follow. Each takes a comparison per request:
    /// meant for some dozens. Checked by [`register`](Self::register).
    pub fn templates<T: AsRef<str>>(mut self, templates: impl IntoIterator<Item = T>) -> Self {
        self.templates
            .extend(templates.into_iter().map(|t| t.as_ref().into()));
        self
    }

    /// How a request's route is found; asked first. `None` leaves it to axum's matched path, then to the
    /// [`templates`](Self::templates). It must come from a bounded set: never the path itself. Not asked by actix-web, whose
    /// requests have other types: its routes are those that it matched itself.
    pub fn route<F>(mut self, find: F) -> Self
    where
        F: for<'a> Fn(&'a Uri, &'a Extensions) -> Option<&'a str> + Send + Sync + 'static,
    {
        self.find = Some(Arc::new(find));
        self
    }

    /// The most routes, 1000 without this; what comes after counts as route `__overflow__`. Families take as many series as
    /// these routes can need; where layers share families, the first one's limit counts.
    pub fn limit(mut self, routes: usize) -> Self {
        self.limit = routes;
        self
    }

    /// Declares the families, or finds them declared alike, and makes the layer. What it makes, families included, lives as
    /// long as the process, also if the registry does not: call it once.
    ///
    /// # Errors
    ///
    /// A prefix, constant label or bounds that families do not take, a name that is taken by a family of another shape, and
    /// a template that no path matches, such as `users` or `/users/{id`.
    pub fn register(self, registry: &Registry) -> Result<ServerLayer, Error> {
        // Before anything is declared or kept.
        let parsed = self
            .templates
            .iter()
            .map(|template| Template::new(template));
        let parsed = parsed.collect::<Result<Vec<_>, _>>()?;
        let families = Families::leaked(&Making {
            scheme: &self.scheme,
            prefix: &self.prefix,
            constant: &self.constant,
            routes: self.limit,
            registry,
        })?;
        let routes = Routes::leaked(families, "", self.exclude.into(), self.limit);
        let mut templates = Templates::default();
        for (template, name) in parsed.into_iter().zip(&self.templates) {
            templates.add(template, routes.named(name));
        }
        Ok(ServerLayer {
            server: Box::leak(Box::new(Server {
                routes,
                templates,
                find: self.find,
            })),
        })
    }
}

/// Measures every request of a server: a tower layer, and with the feature `actix` a middleware of actix-web.
///
/// Of a [`ServerMetrics`]. Clones share everything, and what they share, some kilobytes and the routes, lives as long as the
/// process: make a layer once.
#[derive(Clone, Debug)]
pub struct ServerLayer {
    pub(super) server: &'static Server,
}

pub(super) struct Server {
    routes: &'static Routes,
    templates: Templates,
    find: Option<Arc<Find>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("templates", &self.templates)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Begins to measure, unless the path or its route is excluded.
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

    fn begin_http<B: Body>(&self, request: &Request<B>) -> Option<Exchange> {
        let (uri, extensions) = (request.uri(), request.extensions());
        let route = self
            .find
            .as_ref()
            .and_then(|find| find(uri, extensions))
            .or_else(|| matched_path(extensions));
        let received = length(request.body(), request.headers());
        self.begin(request.method().as_str(), uri.path(), route, received)
    }
}

#[cfg(feature = "axum")]
#[inline]
fn matched_path(extensions: &Extensions) -> Option<&str> {
    extensions
        .get::<axum::extract::MatchedPath>()
        .map(axum::extract::MatchedPath::as_str)
}

#[cfg(not(feature = "axum"))]
fn matched_path(_: &Extensions) -> Option<&str> {
    None
}

/// The length of a body, if that is known before it comes.
fn length(body: &impl Body, headers: &HeaderMap) -> Option<u64> {
    body.size_hint().exact().or_else(|| {
        let length = headers.get(CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok()
    })
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

/// A service whose requests are measured: see [`ServerLayer`].
#[derive(Clone, Debug)]
pub struct ServerService<S> {
    inner: S,
    server: &'static Server,
}

impl<S, B, R> Service<Request<B>> for ServerService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    B: Body,
    R: Body,
{
    type Response = Response<Measured<R>>;
    type Error = S::Error;
    type Future = ServerFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut exchange = self.server.begin_http(&request);
        // Without a closure, which the request would be moved into; and the future made where it is returned.
        let watch = Watch(&mut exchange);
        let mut future = ServerFuture {
            inner: self.inner.call(request),
            exchange: None,
        };
        watch.done();
        future.exchange = exchange;
        future
    }
}

pin_project! {
    /// The answer to come of a [`ServerService`].
    #[derive(Debug)]
    pub struct ServerFuture<F> {
        #[pin]
        inner: F,
        exchange: Option<Exchange>,
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
        let result = ready!(watched(this.exchange, || this.inner.poll(cx)));
        let exchange = this.exchange.take();
        Poll::Ready(match result {
            Ok(response) => Ok(Measured::response(response, exchange)),
            Err(error) => {
                if let Some(exchange) = exchange {
                    exchange.fail(Failure::Error);
                }
                Err(error)
            }
        })
    }
}

pin_project! {
    /// A response's body that is measured to its end.
    #[derive(Debug)]
    pub struct Measured<B> {
        #[pin]
        inner: B,
        exchange: Option<Exchange>,
    }
}

impl<B: Body> Measured<B> {
    fn response(response: Response<B>, exchange: Option<Exchange>) -> Response<Self> {
        let (body, headers) = (response.body(), response.headers());
        let exchange = exchange.and_then(|exchange| {
            exchange.head(
                response.status().as_u16(),
                || length(body, headers).or_else(|| body.is_end_stream().then_some(0)),
                || headers.get(CONTENT_TYPE).map(|ty| ty.as_bytes()),
            )
        });
        response.map(|inner| Self { inner, exchange })
    }
}

impl<B: Body> Body for Measured<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let frame = ready!(watched(this.exchange, || this
            .inner
            .as_mut()
            .poll_frame(cx)));
        if this.exchange.is_some() {
            let came = match &frame {
                Some(Ok(part)) => match part.data_ref() {
                    Some(data) => Came::Data(data.remaining() as u64),
                    // Behind trailers nobody asks for more.
                    None if part.is_trailers() => Came::End,
                    None => Came::Data(0),
                },
                Some(Err(_)) => Came::Failure,
                None => Came::End,
            };
            Exchange::came(this.exchange, came);
            if this.exchange.is_some() && this.inner.is_end_stream() {
                Exchange::came(this.exchange, Came::End);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B: Default> Default for Measured<B> {
    /// An empty body of which nothing is measured.
    fn default() -> Self {
        Self {
            inner: B::default(),
            exchange: None,
        }
    }
}
