//! HTTP clients: counts every call to another service, under the names of aioli and blacksmith.

mod call;
mod classify;
mod settings;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::Extensions;
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use super::exchange::{Exchange, FailureKind, fail_on_panic};
use super::routes::Routes;
use super::templates::{self, Templates};

pub use call::{CallRequest, CallResponse, Template};
use classify::Classifiers;
pub use settings::{ClientMetrics, Clients};

/// Measures every call to one service. A tower layer for services that take an [`http::Request`]
/// and, with the feature `reqwest`, for `reqwest::Client`.
///
/// Costs as much as [`ServerLayer`](super::ServerLayer), with two clock reads. Threads write shared
/// memory in two cases only: every call updates a reference count if [`kind_of`](Self::kind_of) is
/// used, and so does every clone of a service whose layer has [`templates`](Self::templates).
///
/// ```
/// # fn main() -> Result<(), tallies::Error> {
/// use tallies_http::ClientMetrics;
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
#[derive(Clone, Debug)]
#[must_use = "it measures the service that it is put around"]
pub struct ClientLayer {
    routes: &'static Routes,
    templates: Option<Arc<Templates>>,
    classifiers: Classifiers,
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
    /// use tallies_http::ClientMetrics;
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
                    .0
                    .push((parsed, self.routes.named(template))),
                Err(error) => error.log_once(),
            }
        }
        self
    }

    /// Adds a function that classifies errors of type `E`. The first function that returns a kind
    /// wins.
    ///
    /// If no function returns a kind, [`FailureKind::of`] classifies boxed errors, [`io::Error`]s
    /// and errors of `reqwest`, by their own types and those of their sources. All other errors
    /// count as [`FailureKind::Error`].
    ///
    /// ```
    /// # fn main() -> Result<(), tallies::Error> {
    /// use hyper_util::client::legacy;
    /// use tallies_http::{ClientMetrics, FailureKind};
    ///
    /// let clients = ClientMetrics::new().register(&tallies::Registry::new())?;
    /// let users = clients.named("users").kind_of(|error: &legacy::Error| {
    ///     Some(if error.is_connect() { FailureKind::Connect } else { FailureKind::of(error) })
    /// });
    /// # let _ = users;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// [`io::Error`]: std::io::Error
    pub fn kind_of<E: 'static>(
        mut self,
        kind: impl Fn(&E) -> Option<FailureKind> + Send + Sync + 'static,
    ) -> Self {
        self.classifiers.add(Arc::new(move |error| {
            error.downcast_ref::<E>().and_then(&kind)
        }));
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
