//! The metrics page as a `tower` service.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tallies::serve::{Body, MetricsService};

/// The metrics page as a [`tower_service::Service`], for routers that take one.
///
/// ```
/// use tallies::serve::MetricsService;
/// use tallies_http::PageService;
///
/// let page = PageService(MetricsService::new());
/// let app: axum::Router = axum::Router::new().route_service("/metrics", page);
/// ```
///
/// It is always ready, and it never fails. [`MetricsService::answer`] is the same without `tower`.
#[derive(Clone, Debug)]
pub struct PageService(
    /// The service that answers.
    pub MetricsService,
);

impl<B> tower_service::Service<Request<B>> for PageService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let answer = self.0.answer(&request);
        Box::pin(async move { Ok(answer.await) })
    }
}
