//! Clients: every call to another service counted, under the names of aioli and blacksmith.

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

use super::exchange::{Exchange, Failure, watched};
use super::families::{Families, Making};
use super::routes::Routes;
use super::scheme::{CLIENT, Scheme};
use super::templates::{self, Templates};

/// What is measured of calls to other services, and how that is called; [`register`](Self::register) makes the
/// [`Clients`].
///
/// | family | |
/// |---|---|
/// | `{prefix}_info{version}` | 1 |
/// | `{prefix}_http_requests_total{client_name,method,path,status_code}` | every call, however it ended |
/// | `{prefix}_request_latency_seconds{client_name,method,path,status_code}` | to the head of the response, or to the failure |
/// | `{prefix}_http_requests_in_flight{client_name,method,path}` | calls that wait for an answer |
///
/// `path` is the template, such as `/users/{id}`, never the path itself. `status_code` of a call without an answer is the
/// kind of its [`Failure`]: `timeout`, `connect`, `redirect`, `body`, `cancelled` (nobody waited), `panic` or `error`. A layer
/// inside of what tries again counts every attempt.
///
/// ```
/// # fn main() -> Result<(), tallies::Error> {
/// use tallies::http::ClientMetrics;
///
/// let clients = ClientMetrics::new().prefix("shop").register(tallies::registry())?;
/// let users = clients.named("users").templates(["/users", "/users/{id}"]);
/// assert_eq!(tallies::snapshot().get("shop_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));
/// # let _ = users;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is measured before `register`"]
pub struct ClientMetrics {
    scheme: Scheme,
    prefix: String,
    version: String,
    constant: Vec<(String, String)>,
    limit: usize,
}

impl Default for ClientMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl ClientMetrics {
    /// Under the prefix `client`, with the version of this crate, and bounds .05 .1 .2 .4 .8 1.6 3.2 6.4 12.8 25.6.
    pub fn new() -> Self {
        Self {
            scheme: CLIENT,
            prefix: "client".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            constant: Vec::new(),
            limit: 1000,
        }
    }

    /// What names begin with, `client` without this and `""` for nothing; an underscore comes after it, unless it ends in
    /// one or in anything else that is no ASCII letter or digit.
    pub fn prefix(mut self, prefix: &str) -> Self {
        prefix.clone_into(&mut self.prefix);
        self
    }

    /// What `{prefix}_info` says.
    pub fn version(mut self, version: &str) -> Self {
        version.clone_into(&mut self.version);
        self
    }

    /// The name of the counter, without the prefix; `http_requests_total` without this.
    pub fn requests_name(mut self, name: &str) -> Self {
        if let Some(spec) = &mut self.scheme.answered {
            spec.name = Cow::Owned(name.to_owned());
        }
        self
    }

    /// The name of the histogram, without the prefix; `request_latency_seconds` without this.
    pub fn latency_name(mut self, name: &str) -> Self {
        if let Some(spec) = &mut self.scheme.headers {
            spec.name = Cow::Owned(name.to_owned());
        }
        self
    }

    /// The bounds of the latency, in seconds. Checked by [`register`](Self::register).
    pub fn buckets(mut self, seconds: &[f64]) -> Self {
        self.scheme.buckets = Cow::Owned(seconds.to_vec());
        self
    }

    /// A label that every series has.
    pub fn constant(mut self, name: &str, value: &str) -> Self {
        self.constant.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The most templates of a client, 1000 without this; what comes after counts as path `__overflow__`.
    pub fn limit(mut self, templates: usize) -> Self {
        self.limit = templates;
        self
    }

    /// Declares the families, or finds them declared alike. What it makes, families included, lives as long as the process,
    /// also if the registry does not: call it once.
    ///
    /// # Errors
    ///
    /// A prefix, name, constant label or bounds that families do not take, and a name that is taken by a family of
    /// another shape.
    pub fn register(self, registry: &Registry) -> Result<Clients, Error> {
        let families = Families::leaked(&Making {
            scheme: &self.scheme,
            prefix: &self.prefix,
            constant: &self.constant,
            routes: self.limit,
            registry,
        })?;
        let info = Info::<()>::builder(
            &prefixed(&self.prefix, "info"),
            "The version of what calls other services.",
        );
        self.constant
            .iter()
            .fold(info, |info, (name, value)| info.constant(name, value))
            .constant("version", &self.version)
            .get_or_register(registry)?;
        Ok(Clients {
            families,
            limit: self.limit,
            named: Arc::default(),
        })
    }
}

/// The registered families of a [`ClientMetrics`]: a layer for each service that is called.
#[derive(Clone, Debug)]
pub struct Clients {
    families: &'static Families,
    limit: usize,
    named: Arc<Mutex<Vec<&'static Routes>>>,
}

impl Clients {
    /// The layer for calls to one service: `name` is the label `client_name`.
    ///
    /// Layers of one name share their series. These, some kilobytes for each name, live as long as the process: names are
    /// to be few, and not from data.
    pub fn named(&self, name: &str) -> ClientLayer {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let routes = match named.iter().find(|routes| *routes.client == *name) {
            Some(routes) => routes,
            None => {
                let routes = Routes::leaked(self.families, name, [].into(), self.limit);
                named.push(routes);
                routes
            }
        };
        ClientLayer {
            routes,
            templates: None,
            kinds: Kinds::default(),
        }
    }
}

/// The template of a call's path, as an extension of its request: asked before the layer's own templates.
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

type Kind = dyn Fn(&dyn Any) -> Option<Failure> + Send + Sync;

/// What the program knows of its errors; mostly nothing, and then there is nothing that calls would have to count users of.
#[derive(Clone, Default)]
struct Kinds(Option<Arc<[Arc<Kind>]>>);

impl std::fmt::Debug for Kinds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = self.0.as_ref().map_or(0, |kinds| kinds.len());
        f.debug_tuple("Kinds").field(&kinds).finish()
    }
}

/// Measures every call to one service: a tower layer for what takes [`http::Request`], and with the feature `reqwest` for
/// `reqwest::Client`.
///
/// Costs as much as [`ServerLayer`](super::ServerLayer), with two readings of the clock. What threads share is written only
/// with [`kind_of`](Self::kind_of), by every call, and when a service of a layer with [`templates`](Self::templates) is cloned.
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
    kinds: Kinds,
}

impl std::fmt::Debug for ClientLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientLayer")
            .field("templates", &self.templates)
            .finish_non_exhaustive()
    }
}

impl ClientLayer {
    /// The templates of paths that are called, behind those of before; a path is of the first that it matches, or
    /// `unmatched`. `{name}` stands for one segment, `{*name}` at the end for all that follow.
    ///
    /// One that no path matches, such as `users` or `/users/{id`, is left out, and standard error hears why, once.
    pub fn templates<T: AsRef<str>>(mut self, templates: impl IntoIterator<Item = T>) -> Self {
        for template in templates {
            let template = template.as_ref();
            match templates::Template::new(template) {
                Ok(parsed) => Arc::make_mut(self.templates.get_or_insert_default())
                    .add(parsed, self.routes.named(template)),
                Err(error) => warn_once(&error),
            }
        }
        self
    }

    /// What kind of failure errors of type `E` are; without this, or where it says `None`, the error and its causes are
    /// looked at as [`Failure::of`] does, if it is a boxed error, an [`io::Error`], or one of `reqwest`; of others nothing is
    /// known but that they are errors.
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
        let kind: Arc<Kind> = Arc::new(move |error| error.downcast_ref::<E>().and_then(&kind));
        let before = self.kinds.0.iter().flat_map(|kinds| kinds.iter().cloned());
        self.kinds = Kinds(Some(before.chain([kind]).collect()));
        self
    }

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

    /// The answer to what `call` asks.
    #[inline]
    pub(super) fn measure<F>(
        &self,
        exchange: Exchange,
        call: impl FnOnce() -> F,
    ) -> ClientFuture<F> {
        let mut exchange = Some(exchange);
        ClientFuture {
            inner: watched(&mut exchange, call),
            exchange,
            kinds: self.kinds.clone(),
        }
    }
}

impl Kinds {
    fn of(&self, error: &dyn Any) -> Failure {
        let known = self.0.iter().flat_map(|kinds| kinds.iter());
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
    /// What kind of failure `error` is, by itself and by what caused it: errors of I/O, of `reqwest`, and those that say
    /// that a time is over as tower and tokio do.
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
        // Causes are few; a loop of them would be the error's own fault, but must not be ours.
        for _ in 0..16 {
            let Some(error) = next else { break };
            if let Some(kind) = known(error) {
                return kind;
            }
            next = error.source();
        }
        Self::Error
    }
}

fn known(error: &(dyn StdError + 'static)) -> Option<Failure> {
    #[cfg(feature = "reqwest")]
    if let Some(error) = error.downcast_ref::<::reqwest::Error>()
        && let Some(kind) = super::reqwest::kind(error)
    {
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
    // The types of tower and tokio, without a dependency on them for their sake.
    match &*error.to_string() {
        "request timed out" | "deadline has elapsed" => Some(Failure::Timeout),
        _ => None,
    }
}

/// What a client layer has to know of a request.
pub trait CallRequest {
    /// Its method.
    fn method(&self) -> &http::Method;
    /// The path of its URL.
    fn path(&self) -> &str;
    /// Where it may carry a [`Template`].
    fn extensions(&self) -> Option<&Extensions> {
        None
    }
}

/// What a client layer has to know of a response.
pub trait CallResponse {
    /// Its status.
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

/// A service that calls another, measured: see [`ClientLayer`].
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
    /// The answer to come of a [`ClientService`].
    #[derive(Debug)]
    pub struct ClientFuture<F> {
        #[pin]
        inner: F,
        exchange: Option<Exchange>,
        kinds: Kinds,
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
        let result = ready!(watched(this.exchange, || this.inner.poll(cx)));
        if let Some(exchange) = this.exchange.take() {
            match &result {
                Ok(response) => exchange.answer(response.status().as_u16()),
                Err(error) => exchange.fail(this.kinds.of(error)),
            }
        }
        Poll::Ready(result)
    }
}
