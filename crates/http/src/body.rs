//! The measured body: that of a response until its end, or that of a request as it is read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::counting::BytesRead;
use super::exchange::{Exchange, FailureKind, fail_on_panic};

pin_project! {
    /// A body that is measured: that of a response until its end, or that of a request as the
    /// service reads it.
    ///
    /// It has the frames, the size and the errors of the body inside. A handler that accepts it,
    /// behind [`ServerLayer::count_request_bodies`], reads it like any other body:
    ///
    /// ```
    /// use http_body_util::BodyExt;
    /// use tallies_http::Measured;
    ///
    /// async fn size<B: http_body::Body>(body: Measured<B>) -> Result<usize, B::Error> {
    ///     Ok(body.collect().await?.to_bytes().len())
    /// }
    /// ```
    ///
    /// Responses of actix-web have such a body, too. One that `Default` makes is not measured.
    ///
    /// [`ServerLayer::count_request_bodies`]: super::ServerLayer::count_request_bodies
    #[derive(Debug, Default)]
    pub struct Measured<B> {
        #[pin]
        pub(super) inner: B,
        // Set for a response until its end.
        pub(super) exchange: Option<Exchange>,
        // Set for a request.
        pub(super) read: Option<BytesRead>,
    }
}

impl<B> Measured<B> {
    pub(super) fn new(inner: B, exchange: Option<Exchange>, read: Option<BytesRead>) -> Self {
        Self {
            inner,
            exchange,
            read,
        }
    }
}

impl<B: Body> Measured<B> {
    pub(super) fn response(response: Response<B>, exchange: Option<Exchange>) -> Response<Self> {
        let (body, headers) = (response.body(), response.headers());
        let exchange = exchange.and_then(|exchange| {
            exchange.head(
                response.status().as_u16(),
                || length(body, headers).or_else(|| body.is_end_stream().then_some(0)),
                || headers.get(CONTENT_TYPE).map(|ty| ty.as_bytes()),
            )
        });
        response.map(|inner| Self::new(inner, exchange, None))
    }
}

impl<B: Body> Body for Measured<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let poll = || this.inner.as_mut().poll_frame(cx);
        let frame = ready!(fail_on_panic(this.exchange, poll));
        let size = |part: &Frame<B::Data>| part.data_ref().map_or(0, Buf::remaining);
        if let (Some(read), Some(Ok(part))) = (this.read, &frame) {
            read.add(size(part));
        }
        if this.exchange.is_some() {
            match &frame {
                // The server does not poll again after trailers.
                Some(Ok(part)) if part.is_trailers() => Exchange::end(this.exchange, None),
                Some(Ok(part)) => Exchange::on_data(this.exchange, size(part) as u64),
                Some(Err(_)) => Exchange::end(this.exchange, Some(FailureKind::Body)),
                None => Exchange::end(this.exchange, None),
            }
            if this.exchange.is_some() && this.inner.is_end_stream() {
                Exchange::end(this.exchange, None);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Returns the length of a body, if it is known in advance.
pub(super) fn length(body: &impl Body, headers: &HeaderMap) -> Option<u64> {
    body.size_hint().exact().or_else(|| {
        let length = headers.get(CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok()
    })
}
