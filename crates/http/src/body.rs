//! The measured body: that of a response until its end, or that of a request as it is read.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::counting::BytesRead;
use super::exchange::{BodyEvent, Exchange, fail_on_panic};

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
    /// [`ServerLayer::count_request_bodies`]: super::ServerLayer::count_request_bodies
    #[derive(Debug)]
    pub struct Measured<B> {
        #[pin]
        inner: B,
        // Set for a response until its end.
        exchange: Option<Exchange>,
        // Set for a request.
        read: Option<BytesRead>,
    }
}

impl<B: Body> Measured<B> {
    pub(super) fn request(inner: B, read: Option<BytesRead>) -> Self {
        Self {
            inner,
            exchange: None,
            read,
        }
    }

    pub(super) fn response(response: Response<B>, exchange: Option<Exchange>) -> Response<Self> {
        let (body, headers) = (response.body(), response.headers());
        let exchange = exchange.and_then(|exchange| {
            exchange.head(
                response.status().as_u16(),
                || length(body, headers).or_else(|| body.is_end_stream().then_some(0)),
                || headers.get(CONTENT_TYPE).map(|ty| ty.as_bytes()),
            )
        });
        response.map(|inner| Self {
            inner,
            exchange,
            read: None,
        })
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
        let frame = ready!(fail_on_panic(this.exchange, || this
            .inner
            .as_mut()
            .poll_frame(cx)));
        if let (Some(read), Some(Ok(part))) = (this.read, &frame) {
            read.add(part.data_ref().map_or(0, Buf::remaining));
        }
        if this.exchange.is_some() {
            let event = match &frame {
                Some(Ok(part)) => match part.data_ref() {
                    Some(data) => BodyEvent::Data(data.remaining() as u64),
                    // The server does not poll again after trailers.
                    None if part.is_trailers() => BodyEvent::End,
                    None => BodyEvent::Data(0),
                },
                Some(Err(_)) => BodyEvent::Failure,
                None => BodyEvent::End,
            };
            Exchange::on_body_event(this.exchange, event);
            if this.exchange.is_some() && this.inner.is_end_stream() {
                Exchange::on_body_event(this.exchange, BodyEvent::End);
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

impl<B: Default> Default for Measured<B> {
    /// Returns an empty body that is not measured.
    fn default() -> Self {
        Self {
            inner: B::default(),
            exchange: None,
            read: None,
        }
    }
}

/// Returns the length of a body, if it is known in advance.
pub(super) fn length(body: &impl Body, headers: &HeaderMap) -> Option<u64> {
    body.size_hint().exact().or_else(|| {
        let length = headers.get(CONTENT_LENGTH)?;
        length.to_str().ok()?.parse().ok()
    })
}
