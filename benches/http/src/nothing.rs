//! Layers that measure nothing: the cost of any layer in a framework.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower::ServiceExt;
use tower::util::MapResponse;

/// Forwards every call.
#[derive(Clone)]
pub struct Service<S>(pub S);

impl<S: tower::Service<R>, R> tower::Service<R> for Service<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}

pin_project! {
    /// A body that forwards every call.
    pub struct Wrapped<B> {
        #[pin]
        inner: B,
    }
}

impl<B: Body> Body for Wrapped<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        self.project().inner.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

type Wrap<B> = fn(Response<B>) -> Response<Wrapped<B>>;

/// Forwards every call and wraps the response's body.
pub fn with_body<S, Q, B>(service: S) -> MapResponse<S, Wrap<B>>
where
    S: tower::Service<Request<Q>, Response = Response<B>>,
{
    service.map_response(|response| response.map(|inner| Wrapped { inner }))
}
