//! The server layer as a middleware of actix-web.

use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use actix_web::HttpMessage;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::{Payload, Service, ServiceRequest, ServiceResponse, Transform};
use actix_web::http::header::CONTENT_TYPE;
use actix_web::web::Bytes;
use futures_util::TryStreamExt;
use pin_project_lite::pin_project;

use super::body::Measured;
use super::exchange::{Exchange, FailureKind, fail_on_panic};
use super::server::{ServerLayer, ServerState};

/// The route is actix-web's `match_pattern`, which allocates a `String` for every request. A
/// closure given to [`ServerMetrics::route`](super::ServerMetrics::route) is not called, because
/// actix-web's requests have other types. An error that an inner middleware returns counts with the
/// status that actix-web answers with. A request with a body costs one more allocation, for the
/// wrapper that counts what the handler reads.
///
/// ```
/// use actix_web::{App, web};
/// use tallies_http::ServerMetrics;
///
/// # fn main() -> Result<(), tallies::Error> {
/// let metrics = ServerMetrics::new().register(tallies::registry())?;
/// let app = App::new()
///     .wrap(metrics)
///     .route("/users/{id}", web::get().to(async || "a user"));
/// # let _ = app;
/// # Ok(())
/// # }
/// ```
impl<S, B> Transform<S, ServiceRequest> for ServerLayer
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<Measured<B>>;
    type Error = actix_web::Error;
    type Transform = ActixService<S>;
    type InitError = ();
    type Future = Ready<Result<Self::Transform, ()>>;

    fn new_transform(&self, inner: S) -> Self::Future {
        ready(Ok(ActixService {
            inner,
            server: self.server,
        }))
    }
}

/// An actix-web service that measures its requests: see [`ServerLayer`].
#[derive(Debug)]
pub struct ActixService<S> {
    inner: S,
    server: &'static ServerState,
}

impl<S, B> Service<ServiceRequest> for ActixService<S>
where
    S: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
{
    type Response = ServiceResponse<Measured<B>>;
    type Error = actix_web::Error;
    type Future = ActixFuture<S::Future>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let pattern = request.match_pattern();
        let received = matches!(request.parts().1, Payload::None).then_some(0);
        let method = request.method().as_str();
        let (path, pattern) = (request.path(), pattern.as_deref());
        let mut exchange = self.server.begin(method, path, pattern, received);
        if let Some(mut read) = exchange.as_mut().and_then(Exchange::count_request_body) {
            let inner = request.take_payload();
            let payload = Box::pin(inner.inspect_ok(move |bytes| read.add(bytes.len())));
            request.set_payload(Payload::Stream { payload });
        }
        let inner = fail_on_panic(&mut exchange, || self.inner.call(request));
        ActixFuture { inner, exchange }
    }
}

pin_project! {
    /// The future that [`ActixService`] returns.
    #[derive(Debug)]
    pub struct ActixFuture<F> {
        #[pin]
        inner: F,
        exchange: Option<Exchange>,
    }
}

impl<F, B> Future for ActixFuture<F>
where
    F: Future<Output = Result<ServiceResponse<B>, actix_web::Error>>,
    B: MessageBody,
{
    type Output = Result<ServiceResponse<Measured<B>>, actix_web::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(fail_on_panic(this.exchange, || this.inner.poll(cx)));
        let exchange = this.exchange.take();
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                if let Some(exchange) = exchange {
                    exchange.answer(error.as_response_error().status_code().as_u16());
                }
                return Poll::Ready(Err(error));
            }
        };
        let exchange = exchange.and_then(|exchange| {
            exchange.head(
                response.status().as_u16(),
                || match response.response().body().size() {
                    BodySize::None => Some(0),
                    BodySize::Sized(length) => Some(length),
                    BodySize::Stream => None,
                },
                || response.headers().get(CONTENT_TYPE).map(|ty| ty.as_bytes()),
            )
        });
        let response = response.map_body(|_, inner| Measured::new(inner, exchange, None));
        Poll::Ready(Ok(response))
    }
}

impl<B: MessageBody> MessageBody for Measured<B> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.inner.size()
    }

    fn poll_next(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        let chunk = ready!(fail_on_panic(this.exchange, || this.inner.poll_next(cx)));
        match &chunk {
            Some(Ok(bytes)) => Exchange::on_data(this.exchange, bytes.len() as u64),
            Some(Err(_)) => Exchange::end(this.exchange, Some(FailureKind::Body)),
            None => Exchange::end(this.exchange, None),
        }
        Poll::Ready(chunk)
    }
}
