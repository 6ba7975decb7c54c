//! The settings of a server layer, and its registration.

use std::borrow::Cow;
use std::sync::Arc;

use http::{Extensions, Uri};

use crate::families::{Families, FamilySettings};
use crate::routes::Routes;
use crate::scheme::{AIOPROMETHEUS, AIOPROMETHEUS_EXCLUDES, OPENTELEMETRY, PROMETHEUS, Scheme};
use crate::templates::{PathTemplate, Templates};
use tallies::{Error, Registry};
use tallies_names::setters;

use super::{ServerLayer, ServerState};

type FindRoute = dyn for<'a> Fn(&'a Uri, &'a Extensions) -> Option<&'a str> + Send + Sync;

/// Finds the route of a request.
#[derive(Clone)]
pub(super) struct RouteFn(pub(super) Arc<FindRoute>);

impl std::fmt::Debug for RouteFn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RouteFn")
    }
}

/// The settings of a server layer: which families it has and how they are named.
/// [`register`](Self::register) creates the layer.
///
/// | | [`new`](Self::new) | [`opentelemetry`](Self::opentelemetry) |
/// |---|---|---|
/// | requests answered | `http_requests_total{method,route,status}` | the `_count` of the duration |
/// | seconds to the end of the response body | `http_request_duration_seconds{method,route,status}` | `http_server_request_duration_seconds{..}` |
/// | seconds to the response head | `http_response_start_seconds{method,route}` | `http_server_response_start_seconds{..}` |
/// | seconds to the end of event streams | `http_stream_duration_seconds{method,route}` | `http_server_stream_duration_seconds{..}` |
/// | requests in flight | `http_requests_in_flight{method,route}` | `http_server_active_requests{http_request_method}` |
/// | bytes of request bodies, as read by the service | `http_request_size_bytes{method,route}` | `http_server_request_body_size_bytes{..}` |
/// | bytes of response bodies, as sent | `http_response_size_bytes{method,route}` | `http_server_response_body_size_bytes{..}` |
/// | requests failed | `http_requests_failed_total{method,route,kind}` | the label `error_type` |
///
/// where `{..}` is `{http_request_method,http_route,http_response_status_code,error_type}`.
///
/// A method that is neither one of RFC 9110 nor PATCH counts as `other` (`_OTHER` with
/// OpenTelemetry's names). The nine methods keep their names if a route refuses them (405), so a
/// client can make at most ten series of a route and status. A path that matches no route counts as
/// `unmatched`.
///
/// Every request is counted exactly once:
///
/// - with the status of its response, if there is one;
/// - with status 499, if the client leaves before the response;
/// - with status 500, if the handler panics or the service returns an error.
///
/// With OpenTelemetry's names, requests without a response have no status. A request that does not
/// complete also counts as failed, by kind: `panic`, `error` (of the service), `body` (which failed
/// after the response head) or `cancelled` (the client left, before or after the head).
///
/// An upgraded connection (a websocket) counts as a request with status 101 and is not timed,
/// because it continues outside the layer. Event streams (`text/event-stream`,
/// `application/x-ndjson` or `multipart/x-mixed-replace`, of unknown length) have a family of their
/// own, because they last as long as the client listens. A client that leaves an event stream is
/// not a failure. With OpenTelemetry's names, the durations also count the requests, so both are in
/// the duration as well: streams until their end, upgrades until their response head.
///
/// The size of a request is the number of bytes that the service read from its body before the
/// response ended, so it is 0 for a body that nobody reads. This holds in axum, in actix-web and
/// for layers with [`count_request_bodies`](ServerLayer::count_request_bodies). Other layers cannot
/// see what their service reads and observe the announced length. A client can announce any length
/// and send nothing, so they leave out lengths above 16 MiB. They also leave out bodies that
/// announce no length, such as those in chunked encoding.
///
/// ```
/// use axum::{Router, routing::get};
/// use tallies_http::ServerMetrics;
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
/// For a server without a router, list the routes:
///
/// ```
/// use tallies_http::ServerMetrics;
///
/// # fn main() -> Result<(), tallies::Error> {
/// let metrics = ServerMetrics::opentelemetry()
///     .templates(["/", "/users/{id}", "/files/{*path}"])
///     .register(tallies::registry())?;
/// let service = tower::ServiceBuilder::new()
///     .layer(metrics)
///     .service_fn(async |request: http::Request<String>| {
///         Ok::<_, std::io::Error>(http::Response::new(request.into_body()))
///     });
/// # let _ = service;
/// # Ok(())
/// # }
/// ```
///
/// The same goes for tonic, whose router does not expose the matched route: use
/// `templates(["/shop.Orders/Place"])`, and pass the layer to `Server::builder().layer(..)`. gRPC
/// clients announce no length, so sizes of requests need
/// [`count_request_bodies`](ServerLayer::count_request_bodies). A gRPC call ends with its trailers.
/// The layer does not read the gRPC status in them, so the status label is the HTTP status, which
/// is 200 for nearly every call.
#[derive(Clone, Debug)]
#[must_use = "nothing is measured before `register`"]
pub struct ServerMetrics {
    families: FamilySettings,
    exclude: Vec<Box<str>>,
    templates: Vec<Box<str>>,
    find: Option<RouteFn>,
}

impl Default for ServerMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ServerMetrics {
    fn of(scheme: Scheme) -> Self {
        Self {
            families: FamilySettings::new(scheme, ""),
            exclude: Vec::new(),
            templates: Vec::new(),
            find: None,
        }
    }

    /// Uses the names that most Prometheus libraries use.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let metrics = tallies_http::ServerMetrics::new().register(&registry)?;
    /// assert!(registry.snapshot().family("http_requests_total").is_some());
    /// # let _ = metrics;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        Self::of(PROMETHEUS)
    }

    /// Uses the names of OpenTelemetry's semantic conventions for HTTP, as OpenTelemetry's
    /// Prometheus exporter writes them. A server does not know the URL scheme; set it with
    /// [`constant("url_scheme", "https")`](Self::constant).
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let metrics = tallies_http::ServerMetrics::opentelemetry()
    ///     .constant("url_scheme", "https")
    ///     .register(&registry)?;
    /// assert!(registry.snapshot().family("http_server_active_requests").is_some());
    /// # let _ = metrics;
    /// # Ok(())
    /// # }
    /// ```
    pub fn opentelemetry() -> Self {
        Self::of(OPENTELEMETRY)
    }

    /// Uses the four counters of aioprometheus' middleware, and nothing else:
    /// `requests_total_counter`, `responses_total_counter` and `exceptions_total_counter` by
    /// `method` and `path`, and `status_codes_counter` also by `status_code`. `path` is the matched
    /// route. Excludes the same paths as that middleware (`/metrics`, `/docs`, `/favicon.ico` and
    /// so on).
    ///
    /// Prometheus asks for OpenMetrics, which appends `_total` to these names.
    /// `Server::open_metrics(false)` and `MetricsService::open_metrics`
    /// keep them as they are.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let metrics = tallies_http::ServerMetrics::aioprometheus().register(&registry)?;
    /// let app: axum::Router = axum::Router::new().layer(metrics);
    /// # Ok(())
    /// # }
    /// ```
    pub fn aioprometheus() -> Self {
        Self::of(AIOPROMETHEUS).exclude(AIOPROMETHEUS_EXCLUDES)
    }

    setters! {
        /// Sets a prefix for all names. An underscore separates prefix and name, unless the prefix
        /// ends in an underscore or in any other character that is not an ASCII letter or digit.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// let registry = tallies::Registry::new();
        /// let metrics = tallies_http::ServerMetrics::new().prefix("shop").register(&registry)?;
        /// assert!(registry.snapshot().family("shop_http_requests_total").is_some());
        /// # let _ = metrics;
        /// # Ok(())
        /// # }
        /// ```
        fn prefix(self, prefix: &str) = prefix.clone_into(&mut self.families.prefix);

        /// Adds a label to every series.
        ///
        /// ```
        /// use tallies_http::ServerMetrics;
        /// use tower::{ServiceBuilder, ServiceExt};
        ///
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// let registry = tallies::Registry::new();
        /// let metrics = ServerMetrics::new().constant("zone", "a").register(&registry)?;
        /// let service = ServiceBuilder::new()
        ///     .layer(metrics)
        ///     .service_fn(async |_: http::Request<String>| {
        ///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
        ///     });
        /// let request = http::Request::get("/").body(String::new())?;
        /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
        /// let response = service.oneshot(request).await;
        /// assert!(response.is_ok());
        /// # });
        /// let endpoint = [("method", "GET"), ("route", "unmatched")];
        /// let labels = [&endpoint[..], &[("status", "200"), ("zone", "a")]].concat();
        /// assert_eq!(registry.snapshot().get("http_requests_total", &labels), Some(1.0));
        /// # Ok(())
        /// # }
        /// ```
        fn constant(self, name: &str, value: &str) =
            self.families.constant.push((name.to_owned(), value.to_owned()));
    }

    /// Sets the routes and paths that are not measured, compared as exact text. Replaces all
    /// earlier ones, including those of a preset. To exclude nothing, pass `None::<&str>`: the
    /// element type of an empty array cannot be inferred.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let all = tallies_http::ServerMetrics::aioprometheus().exclude(None::<&str>);
    /// let metrics = all.register(&tallies::Registry::new())?;
    /// # let _ = metrics;
    /// # Ok(())
    /// # }
    /// ```
    pub fn exclude<T: AsRef<str>>(mut self, paths: impl IntoIterator<Item = T>) -> Self {
        self.exclude = paths.into_iter().map(|path| path.as_ref().into()).collect();
        self
    }

    setters! {
        /// Writes the class of the status (`2xx`) instead of the code (`204`).
        ///
        /// ```
        /// use tallies_http::ServerMetrics;
        /// use tower::{ServiceBuilder, ServiceExt};
        ///
        /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
        /// let registry = tallies::Registry::new();
        /// let metrics = ServerMetrics::new().group_status_codes().register(&registry)?;
        /// let service = ServiceBuilder::new()
        ///     .layer(metrics)
        ///     .service_fn(async |_: http::Request<String>| {
        ///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
        ///     });
        /// let request = http::Request::get("/").body(String::new())?;
        /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
        /// let response = service.oneshot(request).await;
        /// assert!(response.is_ok());
        /// # });
        /// let labels = [("method", "GET"), ("route", "unmatched"), ("status", "2xx")];
        /// assert_eq!(registry.snapshot().get("http_requests_total", &labels), Some(1.0));
        /// # Ok(())
        /// # }
        /// ```
        fn group_status_codes(self) = self.families.scheme.status_class = true;

        /// Drops the family of the time to the response head. Saves one observation and, for a
        /// response with a body, one clock read: about 40 ns together.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// let registry = tallies::Registry::new();
        /// let metrics = tallies_http::ServerMetrics::new().skip_head_time().register(&registry)?;
        /// assert!(registry.snapshot().family("http_response_start_seconds").is_none());
        /// # let _ = metrics;
        /// # Ok(())
        /// # }
        /// ```
        fn skip_head_time(self) = self.families.scheme.headers = None;

        /// Sets the bucket bounds of durations, in seconds. [`register`](Self::register) checks
        /// them.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// let registry = tallies::Registry::new();
        /// let metrics = tallies_http::ServerMetrics::new().buckets(&[0.1, 1.0, 10.0]);
        /// assert!(metrics.register(&registry).is_ok());
        ///
        /// let descending = tallies_http::ServerMetrics::new().buckets(&[1.0, 0.1]);
        /// assert!(descending.register(&registry).is_err());
        /// # Ok(())
        /// # }
        /// ```
        fn buckets(self, seconds: &[f64]) =
            self.families.scheme.buckets = Cow::Owned(seconds.to_vec());

        /// Sets the limit of routes; the default is 1000. Requests to routes beyond the limit count
        /// with the route `__overflow__`. The families get a limit of series that is large enough
        /// for this many routes. If layers share families, the limit of the first one applies.
        ///
        /// ```
        /// # fn main() -> Result<(), tallies::Error> {
        /// let registry = tallies::Registry::new();
        /// let metrics = tallies_http::ServerMetrics::new().limit(100).register(&registry)?;
        /// assert!(registry.snapshot().family("http_requests_total").is_some());
        /// # let _ = metrics;
        /// # Ok(())
        /// # }
        /// ```
        fn limit(self, routes: usize) = self.families.routes = routes;
    }

    /// Adds path templates, for a server without a router. The first template that matches a path
    /// is its route. `{name}` matches one segment or the rest of one; `{*name}`, at the end,
    /// matches the rest of the path.
    ///
    /// Each request compares its path with the templates one by one, so use a few dozen at most.
    /// [`register`](Self::register) checks them.
    ///
    /// ```
    /// use tallies_http::ServerMetrics;
    /// use tower::{ServiceBuilder, ServiceExt};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let registry = tallies::Registry::new();
    /// let metrics = ServerMetrics::new().templates(["/users/{id}"]).register(&registry)?;
    /// let service = ServiceBuilder::new()
    ///     .layer(metrics)
    ///     .service_fn(async |_: http::Request<String>| {
    ///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
    ///     });
    /// let request = http::Request::get("/users/7").body(String::new())?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let response = service.oneshot(request).await;
    /// assert!(response.is_ok());
    /// # });
    /// let labels = [("method", "GET"), ("route", "/users/{id}"), ("status", "200")];
    /// assert_eq!(registry.snapshot().get("http_requests_total", &labels), Some(1.0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn templates<T: AsRef<str>>(mut self, templates: impl IntoIterator<Item = T>) -> Self {
        let templates = templates.into_iter();
        self.templates.extend(templates.map(|t| t.as_ref().into()));
        self
    }

    /// Sets a function that returns the route of a request. It has precedence over axum's matched
    /// path and over the [`templates`](Self::templates), which are used when it returns `None`.
    ///
    /// It must return one of a bounded set of names, never the path itself. The actix-web
    /// middleware does not call it, because requests of actix-web have other types: its routes are
    /// the patterns that actix-web matched.
    ///
    /// ```
    /// use tallies_http::ServerMetrics;
    /// use tower::{ServiceBuilder, ServiceExt};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let registry = tallies::Registry::new();
    /// let metrics = ServerMetrics::new()
    ///     .route(|uri, _| uri.path().starts_with("/api/").then_some("/api/{*rest}"))
    ///     .register(&registry)?;
    /// let service = ServiceBuilder::new()
    ///     .layer(metrics)
    ///     .service_fn(async |_: http::Request<String>| {
    ///         Ok::<_, std::io::Error>(http::Response::new(String::new()))
    ///     });
    /// let request = http::Request::get("/api/users").body(String::new())?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let response = service.oneshot(request).await;
    /// assert!(response.is_ok());
    /// # });
    /// let labels = [("method", "GET"), ("route", "/api/{*rest}"), ("status", "200")];
    /// assert_eq!(registry.snapshot().get("http_requests_total", &labels), Some(1.0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn route<F>(mut self, find: F) -> Self
    where
        F: for<'a> Fn(&'a Uri, &'a Extensions) -> Option<&'a str> + Send + Sync + 'static,
    {
        self.find = Some(RouteFn(Arc::new(find)));
        self
    }

    /// Registers the families and creates the layer. Reuses families that are already registered
    /// with the same settings.
    ///
    /// The memory of the layer, including its families, is never freed, even if the registry is
    /// dropped. Call this once.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let metrics = tallies_http::ServerMetrics::new().register(&registry)?;
    /// let app: axum::Router = axum::Router::new().layer(metrics);
    /// # let _ = app;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the families reject the prefix, a constant label or the bounds, if a
    /// family of another shape has one of the names, or if a template can match no path: `users`,
    /// `/users/{id`, or `/users/me` after `/users/{id}`.
    #[track_caller]
    pub fn register(self, registry: &Registry) -> Result<ServerLayer, Error> {
        // Parse first, so that an error leaves nothing registered or allocated.
        let parse = |name: Box<str>| Ok((PathTemplate::new(&name)?, name));
        let parsed: Result<Vec<_>, Error> = self.templates.into_iter().map(parse).collect();
        let parsed = parsed?;
        for (i, (later, name)) in parsed.iter().enumerate() {
            if let Some((_, first)) = parsed[..i].iter().find(|(first, _)| first.covers(later)) {
                let (name, first) = (name.escape_debug(), first.escape_debug());
                return Err(Error::new(format!(
                    "path template `{name}` is never reached, because `{first}` before it matches \
                     the same paths; move it forward"
                )));
            }
        }
        let families = Families::leak(&self.families, registry)?;
        let routes = Routes::leak(families, "", self.exclude.into());
        let templates = parsed.into_iter();
        let templates = templates.map(|(template, name)| (template, routes.named(&name)));
        let templates = Templates(templates.collect());
        let find = self.find;
        let server = Box::leak(Box::new(ServerState {
            routes,
            templates,
            find,
        }));
        Ok(ServerLayer { server })
    }
}
