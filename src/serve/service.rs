//! The metrics page as a plain [`tower_service::Service`], for axum, hyper, tonic and similar.

use std::convert::Infallible;
use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};

use crate::encode::Options;
use crate::snapshot::Source;

use super::answer::{PAGES, PageRequest, Pages, SCRAPES};
use super::body::Body;
use super::page::Style;
use super::report::{CARDINALITY, ReportRequest};

/// The maximum age of a stream of the live page. A framework that shuts down waits for its streams.
#[cfg(feature = "live")]
const STREAM_AGE: std::time::Duration = std::time::Duration::from_secs(60);

/// Serves the metrics page as a [`tower_service::Service`], at any path of any framework that takes
/// one.
///
/// ```
/// use tallies::serve::MetricsService;
///
/// let app: axum::Router = axum::Router::new().route_service("/metrics", MetricsService::new());
/// ```
///
/// It answers like a [`Server`](crate::serve::Server): it accepts GET and HEAD, chooses the format
/// that `Accept` prefers, and compresses with the coding that `Accept-Encoding` prefers among those
/// of the features `gzip` and `zstd`. A query `name[]=…` selects families by the name of the family
/// or of a sample, plain or escaped. Concurrent scrapes share passes over the registries.
///
/// A request whose path ends in `/-/cardinality` gets the
/// [cardinality](crate::Registry::cardinality) of the registries, as text, or as JSON for
/// `?format=json` and for `Accept: application/json`. It is routed by the framework, and so behind
/// the authentication that the framework has there.
///
/// Rendering a page blocks. It runs on Tokio's blocking threads if there is a runtime, and on the
/// current thread otherwise. The [`Body`] of a large page comes in blocks.
/// Limits of time and of connections are up to the framework: a client that reads slowly holds the
/// memory of a scrape.
#[derive(Clone)]
pub struct MetricsService {
    sources: Vec<Arc<dyn Source>>,
    style: Style,
    pages: Pages,
    #[cfg(feature = "live")]
    live: Option<super::live::Live>,
}

impl MetricsService {
    /// Creates a service that serves these registries as one page. [`new`](Self::new) serves the
    /// default registry.
    ///
    /// ```
    /// use tallies::{Registry, serve::MetricsService};
    ///
    /// let (jobs, pool) = (Registry::new(), Registry::new());
    /// let service = MetricsService::of([&jobs, &pool]);
    /// ```
    ///
    /// Families of several registries are merged as by
    /// [`Server::registry`](crate::serve::Server::registry).
    #[must_use]
    pub fn of<'a, S: Source + Clone + 'static>(
        registries: impl IntoIterator<Item = &'a S>,
    ) -> Self {
        let source = |registry: &S| Arc::new(registry.clone()) as Arc<dyn Source>;
        Self::with_style(registries.into_iter().map(source).collect(), Style::new())
    }

    /// Sets the encoding options, such as a timestamp on every sample or `_created` samples in
    /// OpenMetrics. The request, not the options, decides how names are escaped.
    ///
    /// ```
    /// use tallies::{encode::Options, serve::MetricsService};
    ///
    /// let service = MetricsService::new().options(Options::new().created(true));
    /// ```
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.style.options = options;
        self.restyled()
    }

    /// Sets whether clients that prefer OpenMetrics get it, like
    /// [`Server::open_metrics`](crate::serve::Server::open_metrics).
    ///
    /// ```
    /// let service = tallies::serve::MetricsService::new().open_metrics(false);
    /// ```
    #[must_use]
    pub fn open_metrics(mut self, yes: bool) -> Self {
        self.style.open_metrics = yes;
        self.restyled()
    }

    /// Sets the level of gzip, like [`Server::gzip_level`](crate::serve::Server::gzip_level).
    ///
    /// ```
    /// let service = tallies::serve::MetricsService::new().gzip_level(6);
    /// ```
    #[cfg(feature = "gzip")]
    #[must_use]
    pub fn gzip_level(mut self, level: u32) -> Self {
        self.style.levels.set_gzip(level);
        self.restyled()
    }

    /// Sets the level of zstd, like [`Server::zstd_level`](crate::serve::Server::zstd_level).
    ///
    /// ```
    /// let service = tallies::serve::MetricsService::new().zstd_level(3);
    /// ```
    #[cfg(feature = "zstd")]
    #[must_use]
    pub fn zstd_level(mut self, level: i32) -> Self {
        self.style.levels.set_zstd(level);
        self.restyled()
    }

    /// Adds the live page, like [`Server::live`](crate::serve::Server::live), at every path that
    /// ends in `/live`, with its parts below that path.
    ///
    /// ```
    /// use tallies::serve::MetricsService;
    ///
    /// let service = MetricsService::new().live();
    /// let app: axum::Router = axum::Router::new()
    ///     .route_service("/metrics", service.clone())
    ///     .route_service("/live", service.clone())
    ///     .route_service("/live/{*part}", service);
    /// ```
    ///
    /// The service has no credentials: the framework has to ask for them. The page needs a Tokio
    /// runtime with a timer; without a runtime its stream returns 501.
    ///
    /// A stream ends after 60 s, and the page begins another one before that. So a framework that
    /// waits for open connections when it shuts down waits at most that long for the pages.
    #[cfg(feature = "live")]
    #[must_use]
    pub fn live(mut self) -> Self {
        self.live = Some(super::live::Live::new(
            self.sources.clone(),
            None,
            STREAM_AGE,
            Arc::clone(&self.pages.scraper.memory),
        ));
        self
    }

    fn with_style(sources: Vec<Arc<dyn Source>>, style: Style) -> Self {
        Self {
            pages: Pages::new(sources.clone(), style, (SCRAPES, PAGES), None),
            sources,
            style,
            #[cfg(feature = "live")]
            live: None,
        }
    }

    /// Sets the style. The pages begin again.
    fn restyled(self) -> Self {
        let service = Self::with_style(self.sources, self.style);
        #[cfg(feature = "live")]
        if self.live.is_some() {
            return service.live();
        }
        service
    }
}

#[cfg(feature = "live")]
impl MetricsService {
    /// Answers a request for the live page or a part of it.
    fn live_answer<B>(&self, request: &Request<B>) -> Option<Response<Body>> {
        let path = request.uri().path();
        let at = path.rfind(super::live::PATH)?;
        let rest = &path[at + super::live::PATH.len()..];
        let mut answer = self.live.as_ref()?.answer(rest, request, None)?;
        if matches!(super::answer::head(request.method()), Ok(true)) {
            *answer.body_mut() = Body::default();
        }
        Some(answer)
    }
}

impl Debug for MetricsService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsService").finish_non_exhaustive()
    }
}

impl<B> tower_service::Service<Request<B>> for MetricsService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        #[cfg(feature = "live")]
        if let Some(live) = &self.live {
            live.remember();
        }
        #[cfg(feature = "live")]
        if let Some(answer) = self.live_answer(&request) {
            return Box::pin(std::future::ready(Ok(answer)));
        }
        let pages = self.pages.clone();
        // Below any path: frameworks may have removed the beginning, or not.
        if request.uri().path().ends_with(CARDINALITY) {
            let request = ReportRequest::read(&request);
            return Box::pin(async move {
                Ok(match request {
                    Ok(request) => pages.report(request).await,
                    Err(answer) => answer,
                })
            });
        }
        let request = PageRequest::read(&request, self.style);
        Box::pin(async move {
            Ok(match request {
                Ok(request) => pages.answer(request, || ()).await,
                Err(answer) => answer,
            })
        })
    }
}
