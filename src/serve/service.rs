//! The metrics page as a plain [`tower_service::Service`], for axum, hyper, tonic and similar.

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;

use crate::encode::Options;
use crate::snapshot::Source;

use super::answer::{PAGES, PageRequest, Pages, SCRAPES};

/// Serves the metrics page as a [`tower_service::Service`], at any path of any framework that takes
/// one.
///
/// ```
/// use tallies::MetricsService;
///
/// let app: axum::Router = axum::Router::new().route_service("/metrics", MetricsService::new());
/// ```
///
/// It answers like a [`Server`](crate::Server): it accepts GET and HEAD, chooses the format that
/// `Accept` prefers, and compresses with the coding that `Accept-Encoding` prefers among those of
/// the features `gzip` and `zstd`. A query `name[]=…` selects families by the name
/// of the family or of a sample, plain or escaped. Concurrent scrapes share passes over the
/// registries.
///
/// Rendering a page blocks. It runs on Tokio's blocking threads if there is a runtime, and on the
/// current thread otherwise. Limits of time and of connections are up to the framework.
#[derive(Clone)]
pub struct MetricsService {
    sources: Vec<Arc<dyn Source>>,
    pages: Pages,
}

impl MetricsService {
    /// Creates a service that serves these registries as one page. [`new`](Self::new) serves the
    /// default registry.
    ///
    /// ```
    /// use tallies::{MetricsService, Registry};
    ///
    /// let (jobs, pool) = (Registry::new(), Registry::new());
    /// let service = MetricsService::of([&jobs, &pool]);
    /// ```
    ///
    /// Families of several registries are merged as by
    /// [`Server::registry`](crate::Server::registry).
    #[must_use]
    pub fn of<'a, S: Source + Clone + 'static>(
        registries: impl IntoIterator<Item = &'a S>,
    ) -> Self {
        let source = |registry: &S| Arc::new(registry.clone()) as Arc<dyn Source>;
        Self::with_sources(registries.into_iter().map(source).collect(), Options::new())
    }

    /// Sets the encoding options, such as a timestamp on every sample or `_created` samples in
    /// OpenMetrics. The request, not the options, decides how names are escaped.
    ///
    /// ```
    /// use tallies::{MetricsService, encode::Options};
    ///
    /// let service = MetricsService::new().options(Options::new().created(true));
    /// ```
    #[must_use]
    pub fn options(self, options: Options) -> Self {
        Self::with_sources(self.sources, options)
    }

    fn with_sources(sources: Vec<Arc<dyn Source>>, options: Options) -> Self {
        Self {
            pages: Pages::new(sources.clone(), options, (SCRAPES, PAGES), None),
            sources,
        }
    }
}

impl Debug for MetricsService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsService").finish_non_exhaustive()
    }
}

impl<B> tower_service::Service<Request<B>> for MetricsService {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let pages = self.pages.clone();
        let request = PageRequest::read(&request);
        Box::pin(async move {
            Ok(match request {
                Ok(request) => pages.answer(request).await,
                Err(answer) => answer,
            })
        })
    }
}
