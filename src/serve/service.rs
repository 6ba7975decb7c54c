//! The metrics page in a server of the program's own: axum, hyper, tonic and similar.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use http::{Request, Response};
use tallies_names::setters;

use crate::encode::Options;
use crate::snapshot::{Merged, Source};

use super::answer::{Answer, Answered, PAGES, Pages, SCRAPES, drop_body, selection};
use super::body::Body;
use super::live;
use super::page::Style;
use super::report::{CARDINALITY, ReportRequest};

/// The maximum age of a stream of the live page. A framework that shuts down waits for its streams.
const STREAM_AGE: std::time::Duration = std::time::Duration::from_secs(60);

/// Answers requests for the metrics page, at any path of any framework whose requests are those of
/// the crate `http`.
///
/// ```
/// use axum::{Router, extract::Request, routing::any};
/// use tallies::serve::MetricsService;
///
/// let metrics = MetricsService::new();
/// let app: Router =
///     Router::new().route("/metrics", any(move |request: Request| metrics.answer(&request)));
/// ```
///
/// `tallies_http::PageService` is the same as a `tower` service.
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
#[must_use = "a service answers when it is asked"]
#[derive(Clone)]
pub struct MetricsService {
    pages: Pages,
    style: Style,
    live: Option<live::Live>,
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
    pub fn of<'a, S: Source + Clone + 'static>(
        registries: impl IntoIterator<Item = &'a S>,
    ) -> Self {
        let registries = registries.into_iter();
        let sources = registries.fold(Merged::new(), |all, registry| all.source(registry));
        Self {
            pages: Pages::new(sources, (SCRAPES, PAGES), None),
            style: Style::new(),
            live: None,
        }
    }

    setters! {
        /// Sets the encoding options, such as a timestamp on every sample or `_created` samples in
        /// OpenMetrics. The request, not the options, decides how names are escaped.
        ///
        /// ```
        /// use tallies::{encode::Options, serve::MetricsService};
        ///
        /// let service = MetricsService::new().options(Options::new().created(true));
        /// ```
        fn options(self, options: Options) = self.style.options = options;

        /// Sets whether clients that prefer OpenMetrics get it, like
        /// [`Server::open_metrics`](crate::serve::Server::open_metrics).
        ///
        /// ```
        /// let service = tallies::serve::MetricsService::new().open_metrics(false);
        /// ```
        fn open_metrics(self, yes: bool) = self.style.open_metrics = yes;

        /// Sets the level of gzip, like [`Server::gzip_level`](crate::serve::Server::gzip_level).
        ///
        /// ```
        /// let service = tallies::serve::MetricsService::new().gzip_level(6);
        /// ```
        #[cfg(feature = "gzip")]
        fn gzip_level(self, level: u32) = self.style.levels.gzip = level;

        /// Sets the level of zstd, like [`Server::zstd_level`](crate::serve::Server::zstd_level).
        ///
        /// ```
        /// let service = tallies::serve::MetricsService::new().zstd_level(3);
        /// ```
        #[cfg(feature = "zstd")]
        fn zstd_level(self, level: i32) = self.style.levels.zstd = level;

        /// Adds the live page, like [`Server::live`](crate::serve::Server::live), at every path
        /// that ends in `/live`, with its parts below that path.
        ///
        /// ```
        /// use axum::{Router, extract::Request, routing::any};
        /// use tallies::serve::MetricsService;
        ///
        /// let service = MetricsService::new().live();
        /// let page = any(move |request: Request| service.answer(&request));
        /// let app: Router = Router::new()
        ///     .route("/metrics", page.clone())
        ///     .route("/live", page.clone())
        ///     .route("/live/{*part}", page);
        /// ```
        ///
        /// The service has no credentials: the framework has to ask for them. The page needs a
        /// Tokio runtime with a timer; without a runtime its stream returns 501.
        ///
        /// A stream ends after 60 s, and the page begins another one before that. So a framework
        /// that waits for open connections when it shuts down waits at most that long for the
        /// pages.
        #[cfg(feature = "live")]
        fn live(self) = self.live = Some(live::Live::new(&self.pages.scraper, None, STREAM_AGE));
    }

    /// Answers a request. The framework polls the future, which needs neither the request nor the
    /// service.
    ///
    /// ```
    /// use tallies::serve::MetricsService;
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// let request = http::Request::get("/metrics").body(()).unwrap();
    /// let answer = MetricsService::new().answer(&request).await;
    /// assert_eq!(answer.status(), 200);
    /// # }
    /// ```
    pub fn answer<B>(
        &self,
        request: &Request<B>,
    ) -> impl Future<Output = Response<Body>> + Send + 'static + use<B> {
        let (route, method) = (self.route(request), request.method().clone());
        async move {
            let answer = async { route?.await };
            let mut answer = answer.await.unwrap_or_else(|answer| answer);
            drop_body(&mut answer, &method);
            answer
        }
    }

    /// Returns what makes the answer, or the answer if there is nothing to be made.
    fn route<B>(&self, request: &Request<B>) -> Result<Rendering, Answer> {
        let path = request.uri().path();
        if let Some(live) = &self.live {
            live.remember();
            let rest = path.rsplit_once(live::PATH).map(|(_, rest)| rest);
            if let Some(answer) = rest.and_then(|rest| live.answer(rest, request, None)) {
                return Err(answer);
            }
        }
        let pages = self.pages.clone();
        // Below any path: frameworks may have removed the beginning, or not.
        if path.ends_with(CARDINALITY) {
            return Ok(Box::pin(pages.report(ReportRequest::read(request)?)));
        }
        let selection = selection(request, self.style)?;
        Ok(Box::pin(pages.answer(selection, || ())))
    }
}

type Rendering = Pin<Box<dyn Future<Output = Answered> + Send>>;

impl Debug for MetricsService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MetricsService").finish_non_exhaustive()
    }
}
