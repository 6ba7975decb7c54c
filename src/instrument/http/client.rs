//! HTTP clients: counts every call to another service, under the names of aioli and blacksmith.

use std::any::Any;
use std::borrow::Cow;
use std::error::Error as StdError;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use http::Extensions;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::declare::Info;
use crate::error::{Error, warn_once};
use crate::family::desc::prefixed;
use crate::registry::Registry;

use super::exchange::{Exchange, Failure, fail_on_panic};
use super::families::{Families, FamilySettings};
use super::routes::Routes;
use super::scheme::{CLIENT, Scheme};
use super::templates::{self, Templates};

/// The settings of client layers: which families they have and how they are named.
/// [`register`](Self::register) creates the [`Clients`].
///
/// | family | |
/// |---|---|
/// | `{prefix}_info{version}` | 1, if a [`version`](Self::version) is given |
/// | `{prefix}_http_requests_total{client_name,method,path,status_code}` | every call, however it ended |
/// | `{prefix}_request_latency_seconds{client_name,method,path,status_code}` | time to the response head, or to the failure |
/// | `{prefix}_http_requests_in_flight{client_name,method,path}` | calls that wait for a response |
///
/// `path` is the template, such as `/users/{id}`, never the path itself. For a call without a
/// response, `status_code` is the kind of its [`Failure`]: `timeout`, `connect`, `redirect`,
/// `body`, `cancelled` (the caller dropped the future), `panic` or `error`. A layer inside a
/// retrying service counts every attempt.
///
/// ```
/// # fn main() -> Result<(), tallies::Error> {
/// use tallies::http::ClientMetrics;
///
/// let version = env!("CARGO_PKG_VERSION");
/// let clients = ClientMetrics::new().prefix("shop").version(version).register(tallies::registry())?;
/// let users = clients.named("users").templates(["/users", "/users/{id}"]);
/// assert_eq!(tallies::snapshot().get("shop_info", &[("version", version)]), Some(1.0));
/// # let _ = users;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is measured before `register`"]
pub struct ClientMetrics {
    scheme: Scheme,
    prefix: String,
    version: Option<String>,
    constant: Vec<(String, String)>,
    limit: usize,
}

impl Default for ClientMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientMetrics {
    /// Uses the prefix `client` and the bucket bounds 0.05, 0.1, 0.2,
    /// 0.4, 0.8, 1.6, 3.2, 6.4, 12.8 and 25.6 seconds.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let clients = tallies::http::ClientMetrics::new().register(&registry)?;
    /// assert!(registry.snapshot().family("client_http_requests_total").is_some());
    /// # let _ = clients;
    /// # Ok(())
    /// # }
    /// ```
    pub fn new() -> Self {
        Self {
            scheme: CLIENT,
            prefix: "client".to_owned(),
            version: None,
            constant: Vec::new(),
            limit: 1000,
        }
    }

    /// Sets the prefix of all names; the default is `client`, and `""` means no prefix. An
    /// underscore separates prefix and name, unless the prefix ends in an underscore or in any
    /// other character that is not an ASCII letter or digit.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let clients = tallies::http::ClientMetrics::new().prefix("shop").register(&registry)?;
    /// assert!(registry.snapshot().family("shop_http_requests_total").is_some());
    /// # let _ = clients;
    /// # Ok(())
    /// # }
    /// ```
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// Adds `{prefix}_info` with this label `version`: the program's, as in
    /// `version(env!("CARGO_PKG_VERSION"))`.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let clients = tallies::http::ClientMetrics::new().version("1.2.3").register(&registry)?;
    /// let seen = registry.snapshot();
    /// assert_eq!(seen.get("client_info", &[("version", "1.2.3")]), Some(1.0));
    /// # let _ = clients;
    /// # Ok(())
    /// # }
    /// ```
    pub fn version(mut self, version: &str) -> Self {
        self.version = Some(version.to_owned());
        self
    }

    /// Sets the name of the counter, without the prefix; the default is `http_requests_total`.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let clients = tallies::http::ClientMetrics::new()
    ///     .requests_name("calls_total")
    ///     .register(&registry)?;
    /// assert!(registry.snapshot().family("client_calls_total").is_some());
    /// # let _ = clients;
    /// # Ok(())
    /// # }
    /// ```
    pub fn requests_name(mut self, name: &str) -> Self {
        if let Some(spec) = &mut self.scheme.answered {
            spec.name = Cow::Owned(name.to_owned());
        }
        self
    }

    /// Sets the name of the histogram, without the prefix; the default is
    /// `request_latency_seconds`.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let clients = tallies::http::ClientMetrics::new()
    ///     .latency_name("call_seconds")
    ///     .register(&registry)?;
    /// assert!(registry.snapshot().family("client_call_seconds").is_some());
    /// # let _ = clients;
    /// # Ok(())
    /// # }
    /// ```
    pub fn latency_name(mut self, name: &str) -> Self {
        if let Some(spec) = &mut self.scheme.headers {
            spec.name = Cow::Owned(name.to_owned());
        }
        self
    }

    /// Sets the bucket bounds of the latency, in seconds. [`register`](Self::register) checks them.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let clients = tallies::http::ClientMetrics::new().buckets(&[0.1, 1.0, 10.0]);
    /// assert!(clients.register(&registry).is_ok());
    ///
    /// let descending = tallies::http::ClientMetrics::new().buckets(&[1.0, 0.1]);
    /// assert!(descending.register(&registry).is_err());
    /// # Ok(())
    /// # }
    /// ```
    pub fn buckets(mut self, seconds: &[f64]) -> Self {
        self.scheme.buckets = Cow::Owned(seconds.to_vec());
        self
    }

    /// Adds a label to every series.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let clients = tallies::http::ClientMetrics::new()
    ///     .version("1")
    ///     .constant("zone", "a")
    ///     .register(&registry)?;
    /// let seen = registry.snapshot();
    /// assert_eq!(seen.get("client_info", &[("version", "1"), ("zone", "a")]), Some(1.0));
    /// # let _ = clients;
    /// # Ok(())
    /// # }
    /// ```
    pub fn constant(mut self, name: &str, value: &str) -> Self {
        self.constant.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the limit of templates per client; the default is 1000. Calls to templates beyond the
    /// limit count with the path `__overflow__`.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let clients = tallies::http::ClientMetrics::new().limit(100).register(&registry)?;
    /// assert!(registry.snapshot().family("client_http_requests_total").is_some());
    /// # let _ = clients;
    /// # Ok(())
    /// # }
    /// ```
    pub fn limit(mut self, templates: usize) -> Self {
        self.limit = templates;
        self
    }

    /// Registers the families. Reuses families that are already registered with the same settings.
    ///
    /// The memory of the families and of the layers is never freed, even if the registry is
    /// dropped. Call this once.
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// let registry = tallies::Registry::new();
    /// let clients = tallies::http::ClientMetrics::new().register(&registry)?;
    /// let users = clients.named("users");
    /// # let _ = users;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error if the families reject the prefix, a name, a constant label or the bounds,
    /// or if a family of another shape has one of the names.
    pub fn register(self, registry: &Registry) -> Result<Clients, Error> {
        let families = Families::leak(&FamilySettings {
            scheme: &self.scheme,
            prefix: &self.prefix,
            constant: &self.constant,
            routes: self.limit,
            registry,
        })?;
        if let Some(version) = &self.version {
            let info = Info::builder(
                &prefixed(&self.prefix, "info"),
                "The version of the program that calls other services.",
            );
            self.constant
                .iter()
                .fold(info, |info, (name, value)| info.constant(name, value))
                .constant("version", version)
                .get_or_register(registry)?;
        }
        Ok(Clients {
            families,
            limit: self.limit,
            named: Arc::default(),
        })
    }
}

/// The registered families of [`ClientMetrics`]. Creates a layer for each service that the program
/// calls.
#[derive(Clone, Debug)]
pub struct Clients {
    families: &'static Families,
    limit: usize,
    /// The routes of each client created so far. Written and read by [`named`](Self::named).
    named: Arc<Mutex<Vec<&'static Routes>>>,
}

impl Clients {
    /// Returns the layer for calls to one service. `name` is the value of the label `client_name`.
    ///
    /// Layers with the same name share their series. The memory of a name, a few kilobytes, is
    /// never freed, so use few names, and do not take them from data.
    ///
    /// ```
    /// use tallies::http::ClientMetrics;
    /// use tower::{ServiceBuilder, ServiceExt};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let registry = tallies::Registry::new();
    /// let clients = ClientMetrics::new().register(&registry)?;
    /// let service = ServiceBuilder::new()
    ///     .layer(clients.named("users"))
    ///     .service_fn(async |_: http::Request<()>| {
    ///         Ok::<_, std::io::Error>(http::Response::new(()))
    ///     });
    /// let request = http::Request::get("http://users.local/").body(())?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let response = service.oneshot(request).await;
    /// assert!(response.is_ok());
    /// # });
    /// let labels = [
    ///     ("client_name", "users"),
    ///     ("method", "GET"),
    ///     ("path", "unmatched"),
    ///     ("status_code", "200"),
    /// ];
    /// assert_eq!(registry.snapshot().get("client_http_requests_total", &labels), Some(1.0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn named(&self, name: &str) -> ClientLayer {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let routes = match named.iter().find(|routes| *routes.client == *name) {
            Some(routes) => routes,
            None => {
                let routes = Routes::leak(self.families, name, [].into(), self.limit);
                named.push(routes);
                routes
            }
        };
        ClientLayer {
            routes,
            templates: None,
            classifiers: Classifiers::default(),
        }
    }
}

/// The template of a call's path, as an extension of the request. Has precedence over the layer's
/// own templates.
///
/// ```
/// use tallies::http::Template;
///
/// let request = http::Request::get("http://users.local/users/7")
///     .extension(Template("/users/{id}"))
///     .body(())?;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template(pub &'static str);

/// Classifies an error. Returns `None` for an error of another type.
type Classifier = dyn Fn(&dyn Any) -> Option<Failure> + Send + Sync;

/// The error classifiers of the program. `None` if there are none, which is common: calls then
/// clone no `Arc`.
#[derive(Clone, Default)]
struct Classifiers(Option<Arc<[Arc<Classifier>]>>);

impl std::fmt::Debug for Classifiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let classifiers = self.0.as_ref().map_or(0, |classifiers| classifiers.len());
        f.debug_tuple("Classifiers").field(&classifiers).finish()
    }
}

/// Measures every call to one service. A tower layer for services that take an [`http::Request`]
/// and, with the feature `reqwest`, for `reqwest::Client`.
///
/// Costs as much as [`ServerLayer`](super::ServerLayer), with two clock reads. Threads write shared
/// memory in two cases only: every call updates a reference count if [`kind_of`](Self::kind_of) is
/// used, and so does every clone of a service whose layer has [`templates`](Self::templates).
///
/// ```
/// # fn main() -> Result<(), tallies::Error> {
/// use tallies::http::ClientMetrics;
///
/// let clients = ClientMetrics::new().register(&tallies::Registry::new())?;
/// let users = clients.named("users").templates(["/users/{id}"]);
/// let service = tower::ServiceBuilder::new()
///     .layer(users)
///     .timeout(std::time::Duration::from_secs(1))
///     .service_fn(async |_: http::Request<()>| Ok::<_, std::io::Error>(http::Response::new(())));
/// # let _ = service;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "it measures the service that it is put around"]
pub struct ClientLayer {
    routes: &'static Routes,
    templates: Option<Arc<Templates>>,
    classifiers: Classifiers,
}

impl std::fmt::Debug for ClientLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientLayer")
            .field("templates", &self.templates)
            .finish_non_exhaustive()
    }
}

impl ClientLayer {
    /// Adds path templates. The first template that matches the path of a call is its label `path`;
    /// a path that matches none is `unmatched`. `{name}` matches one segment or the rest of one;
    /// `{*name}`, at the end, matches the rest of the path.
    ///
    /// A template that can match no path, such as `users` or `/users/{id`, is ignored, and the
    /// reason is logged once.
    ///
    /// ```
    /// use tallies::http::ClientMetrics;
    /// use tower::{ServiceBuilder, ServiceExt};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let registry = tallies::Registry::new();
    /// let clients = ClientMetrics::new().register(&registry)?;
    /// let service = ServiceBuilder::new()
    ///     .layer(clients.named("users").templates(["/users/{id}"]))
    ///     .service_fn(async |_: http::Request<()>| {
    ///         Ok::<_, std::io::Error>(http::Response::new(()))
    ///     });
    /// let request = http::Request::get("http://users.local/users/7").body(())?;
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let response = service.oneshot(request).await;
    /// assert!(response.is_ok());
    /// # });
    /// let labels = [
    ///     ("client_name", "users"),
    ///     ("method", "GET"),
    ///     ("path", "/users/{id}"),
    ///     ("status_code", "200"),
    /// ];
    /// assert_eq!(registry.snapshot().get("client_http_requests_total", &labels), Some(1.0));
    /// # Ok(())
    /// # }
    /// ```
    pub fn templates<T: AsRef<str>>(mut self, templates: impl IntoIterator<Item = T>) -> Self {
        for template in templates {
            let template = template.as_ref();
            match templates::PathTemplate::new(template) {
                Ok(parsed) => Arc::make_mut(self.templates.get_or_insert_default())
                    .add(parsed, self.routes.named(template)),
                Err(error) => warn_once(&error),
            }
        }
        self
    }

    /// Adds a function that classifies errors of type `E`. The first function that returns a kind
    /// wins.
    ///
    /// If no function returns a kind, [`Failure::of`] classifies boxed errors, [`io::Error`]s and
    /// errors of `reqwest`, by their own types and those of their sources. All other errors count
    /// as [`Failure::Error`].
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// use hyper_util::client::legacy;
    /// use tallies::http::{ClientMetrics, Failure};
    ///
    /// let clients = ClientMetrics::new().register(&tallies::Registry::new())?;
    /// let users = clients.named("users").kind_of(|error: &legacy::Error| {
    ///     Some(if error.is_connect() { Failure::Connect } else { Failure::of(error) })
    /// });
    /// # let _ = users;
    /// # Ok(())
    /// # }
    /// ```
    pub fn kind_of<E: 'static>(
        mut self,
        kind: impl Fn(&E) -> Option<Failure> + Send + Sync + 'static,
    ) -> Self {
        let kind: Arc<Classifier> =
            Arc::new(move |error| error.downcast_ref::<E>().and_then(&kind));
        let before = self
            .classifiers
            .0
            .iter()
            .flat_map(|classifiers| classifiers.iter().cloned());
        self.classifiers = Classifiers(Some(before.chain([kind]).collect()));
        self
    }

    /// Starts measuring a call. `template` has precedence over the templates that match `path`.
    #[inline]
    pub(super) fn begin(&self, method: &str, template: Option<&str>, path: &str) -> Exchange {
        let route = match template {
            Some(template) => self.routes.named(template),
            None => {
                let known = self.templates.as_ref().and_then(|all| all.find(path));
                known.unwrap_or(&self.routes.unmatched)
            }
        };
        Exchange::begin(self.routes.endpoint(method, route), None)
    }

    /// Makes a call, and returns its future, measured as `exchange`.
    #[inline]
    pub(super) fn measure<F>(
        &self,
        exchange: Exchange,
        call: impl FnOnce() -> F,
    ) -> ClientFuture<F> {
        let mut exchange = Some(exchange);
        ClientFuture {
            inner: fail_on_panic(&mut exchange, call),
            exchange,
            classifiers: self.classifiers.clone(),
        }
    }
}

impl Classifiers {
    fn of(&self, error: &dyn Any) -> Failure {
        let known = self.0.iter().flat_map(|classifiers| classifiers.iter());
        if let Some(kind) = known.into_iter().find_map(|kind| kind(error)) {
            return kind;
        }
        if let Some(error) = error.downcast_ref::<Box<dyn StdError + Send + Sync>>() {
            return Failure::of(&**error);
        }
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return Failure::of(error);
        }
        #[cfg(feature = "reqwest")]
        if let Some(error) = error.downcast_ref::<::reqwest::Error>() {
            return Failure::of(error);
        }
        Failure::Error
    }
}

impl Failure {
    /// Classifies `error` by its own type and by those of its sources. Recognizes I/O errors,
    /// errors of `reqwest`, and the timeout errors of tower and tokio.
    ///
    /// ```
    /// use tallies::http::Failure;
    ///
    /// let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    /// assert_eq!(Failure::of(&refused), Failure::Connect);
    /// assert_eq!(Failure::of(&std::fmt::Error), Failure::Error);
    /// ```
    #[must_use]
    pub fn of(error: &(dyn StdError + 'static)) -> Self {
        let mut next = Some(error);
        // Errors have few sources. The bound ends the search if they form a cycle.
        for _ in 0..16 {
            let Some(error) = next else { break };
            if let Some(kind) = classify(error) {
                return kind;
            }
            next = error.source();
        }
        Self::Error
    }
}

fn classify(error: &(dyn StdError + 'static)) -> Option<Failure> {
    #[cfg(feature = "reqwest")]
    if let Some(kind) = error.downcast_ref().and_then(super::reqwest::kind) {
        return Some(kind);
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return match error.kind() {
            io::ErrorKind::TimedOut => Some(Failure::Timeout),
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable => Some(Failure::Connect),
            _ => None,
        };
    }
    // The timeout errors of tower and tokio. Comparing their texts avoids a dependency on both
    // crates.
    match &*error.to_string() {
        "request timed out" | "deadline has elapsed" => Some(Failure::Timeout),
        _ => None,
    }
}

/// A request that a client layer can measure.
///
/// ```
/// use tallies::http::CallRequest;
///
/// struct Query {
///     method: http::Method,
///     collection: String,
/// }
///
/// impl CallRequest for Query {
///     fn method(&self) -> &http::Method {
///         &self.method
///     }
///
///     fn path(&self) -> &str {
///         &self.collection
///     }
/// }
///
/// let query = Query { method: http::Method::GET, collection: "/users".to_owned() };
/// assert!(query.extensions().is_none());
/// ```
pub trait CallRequest {
    /// Returns the method.
    fn method(&self) -> &http::Method;
    /// Returns the path of the URL.
    fn path(&self) -> &str;
    /// Returns the extensions, which may contain a [`Template`].
    fn extensions(&self) -> Option<&Extensions> {
        None
    }
}

/// A response that a client layer can measure.
///
/// ```
/// use tallies::http::CallResponse;
///
/// struct Answer(Vec<u8>);
///
/// impl CallResponse for Answer {
///     fn status(&self) -> http::StatusCode {
///         if self.0.is_empty() { http::StatusCode::NOT_FOUND } else { http::StatusCode::OK }
///     }
/// }
///
/// assert_eq!(Answer(Vec::new()).status(), 404);
/// ```
pub trait CallResponse {
    /// Returns the status.
    fn status(&self) -> http::StatusCode;
}

impl<B> CallRequest for http::Request<B> {
    fn method(&self) -> &http::Method {
        self.method()
    }

    fn path(&self) -> &str {
        self.uri().path()
    }

    fn extensions(&self) -> Option<&Extensions> {
        Some(self.extensions())
    }
}

impl<B> CallResponse for http::Response<B> {
    fn status(&self) -> http::StatusCode {
        self.status()
    }
}

impl<S> Layer<S> for ClientLayer {
    type Service = ClientService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ClientService {
            inner,
            layer: self.clone(),
        }
    }
}

/// A service that measures its calls: see [`ClientLayer`].
#[derive(Clone, Debug)]
pub struct ClientService<S> {
    inner: S,
    layer: ClientLayer,
}

impl<S, R> Service<R> for ClientService<S>
where
    S: Service<R>,
    R: CallRequest,
    S::Response: CallResponse,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ClientFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let template = request.extensions().and_then(Extensions::get::<Template>);
        let exchange = self.layer.begin(
            request.method().as_str(),
            template.map(|template| template.0),
            request.path(),
        );
        self.layer.measure(exchange, || self.inner.call(request))
    }
}

pin_project! {
    /// The future that [`ClientService`] returns.
    #[derive(Debug)]
    pub struct ClientFuture<F> {
        #[pin]
        inner: F,
        exchange: Option<Exchange>,
        classifiers: Classifiers,
    }
}

impl<F, R, E> Future for ClientFuture<F>
where
    F: Future<Output = Result<R, E>>,
    R: CallResponse,
    E: 'static,
{
    type Output = Result<R, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(fail_on_panic(this.exchange, || this.inner.poll(cx)));
        if let Some(exchange) = this.exchange.take() {
            match &result {
                Ok(response) => exchange.answer(response.status().as_u16()),
                Err(error) => exchange.fail(this.classifiers.of(error)),
            }
        }
        Poll::Ready(result)
    }
}
