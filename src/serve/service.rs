//! The page as a plain [`tower_service::Service`]: for axum, hyper, tonic, and whatever else takes one.

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

use super::answer::{Asked, PAGES, Pages, SCRAPES};

/// The page as a [`tower_service::Service`]: whatever path it is put at, in whatever framework takes one.
///
/// It answers as the service of [`Server`](crate::Server) does: GET and HEAD, the format that `Accept` likes best, the
/// coding that `Accept-Encoding` likes best among the features `gzip` and `zstd`, and only some families where the query
/// says `name[]=…`. Scrapes at once share passes over the registry. Making a page is work for a thread that may block:
/// it goes to Tokio's where there is a runtime, and is done on the spot where there is none. Limits of time and of
/// connections are the framework's.
///
/// ```
/// use tallies::MetricsService;
///
/// let app: axum::Router = axum::Router::new().route_service("/metrics", MetricsService::new());
/// ```
#[derive(Clone)]
pub struct MetricsService {
    sources: Vec<Arc<dyn Source>>,
    pages: Pages,
}

impl MetricsService {
    /// A service of these registries, as one page; see [`Server::registry`](crate::Server::registry). [`new`](Self::new) is
    /// that of the default registry.
    ///
    /// ```
    /// use tallies::{MetricsService, Registry};
    ///
    /// let (jobs, pool) = (Registry::new(), Registry::new());
    /// let service = MetricsService::of([&jobs, &pool]);
    /// ```
    #[must_use]
    pub fn of<'a, S: Source + Clone + 'static>(
        registries: impl IntoIterator<Item = &'a S>,
    ) -> Self {
        let source = |registry: &S| Arc::new(registry.clone()) as Arc<dyn Source>;
        Self::made(registries.into_iter().map(source).collect(), Options::new())
    }

    /// With times at every sample, or with `_created` samples in OpenMetrics. Names are escaped as the request asks.
    ///
    /// ```
    /// use tallies::{MetricsService, encode::Options};
    ///
    /// let service = MetricsService::new().options(Options::new().created(true));
    /// ```
    #[must_use]
    pub fn options(self, options: Options) -> Self {
        Self::made(self.sources, options)
    }

    fn made(sources: Vec<Arc<dyn Source>>, options: Options) -> Self {
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
        let asked = Asked::read(&request);
        Box::pin(async move {
            Ok(match asked {
                Ok(asked) => pages.answer(asked).await,
                Err(answer) => answer,
            })
        })
    }
}
