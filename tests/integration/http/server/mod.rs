//! The server layer around real axum and hyper, and around services that misbehave. Real servers
//! run on workers of the runtime, so the thread of a test may block.

mod bodies;
mod broken_off;
mod requests;
mod routes;
mod settings;
mod sizes;
mod streams;

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Router;
use http::{Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::{Body, Bytes, Frame};
use tallies::Registry;
use tallies_http::{Measured, ServerLayer, ServerMetrics};
use tokio::net::TcpListener;
use tower::{Service, ServiceExt, service_fn};

/// Serves a service with hyper, on a port of this machine.
async fn serve_hyper<S, B, E>(service: S) -> std::net::SocketAddr
where
    S: Service<Request<hyper::body::Incoming>, Response = Response<B>, Error = E>
        + Clone
        + Send
        + 'static,
    S::Future: Send,
    E: std::error::Error + Send + Sync + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: std::error::Error + Send + Sync,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper_util::service::TowerToHyperService::new(service.clone());
            let io = hyper_util::rt::TokioIo::new(stream);
            tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(io, service));
        }
    });
    address
}

fn layer() -> (Registry, ServerLayer) {
    let registry = Registry::new();
    let layer = ServerMetrics::new()
        .templates(["/", "/users/{id}"])
        .register(&registry)
        .unwrap();
    (registry, layer)
}

fn get_of(registry: &Registry, name: &str, labels: &[(&str, &str)]) -> f64 {
    registry.snapshot().get(name, labels).unwrap_or_default()
}

/// The sum over all series of a family; pass a histogram's `_count` to add up its counts.
fn sum(registry: &Registry, name: &str) -> f64 {
    let page = tallies::encode::text(&registry.snapshot());
    let value = |line: &str| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap();
    page.lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name))
        .map(value)
        .sum()
}

fn request(method: &str, path: &str) -> Request<Empty<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .body(Empty::new())
        .unwrap()
}

async fn serve(app: Router) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    address
}

async fn answer<S, R>(service: &mut S, request: Request<Empty<Bytes>>) -> Response<Measured<R>>
where
    S: Service<Request<Empty<Bytes>>, Response = Response<Measured<R>>>,
    S::Error: std::fmt::Debug,
{
    service.ready().await.unwrap().call(request).await.unwrap()
}

type Pending = Pin<Box<dyn Future<Output = Result<Frame<Bytes>, Infallible>> + Send>>;

/// A stream of the outputs of some futures, one after the other.
fn futures_of<const N: usize>(
    futures: [Pending; N],
) -> impl futures_core::Stream<Item = Result<Frame<Bytes>, Infallible>> {
    struct Each(std::collections::VecDeque<Pending>);
    impl futures_core::Stream for Each {
        type Item = Result<Frame<Bytes>, Infallible>;
        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            let Some(first) = self.0.front_mut() else {
                return Poll::Ready(None);
            };
            let item = std::task::ready!(first.as_mut().poll(cx));
            self.0.pop_front();
            Poll::Ready(Some(item))
        }
    }
    Each(futures.into())
}

/// A service that gives the same response to every request.
fn answering<B: Body + Clone>(
    status: StatusCode,
    headers: &'static [(&'static str, &'static str)],
    body: B,
) -> impl Service<Request<Empty<Bytes>>, Response = Response<B>, Error = Infallible> {
    service_fn(move |_: Request<Empty<Bytes>>| {
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        ready(Ok(response.body(body.clone()).unwrap()))
    })
}

/// A body of some chunks without a known length, which may fail after the last one.
#[derive(Clone)]
struct Chunks {
    left: usize,
    fails: bool,
}

impl Body for Chunks {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(match (self.left, self.fails) {
            (0, false) => None,
            (0, true) => Some(Err(std::io::Error::other("as it must"))),
            _ => {
                self.left -= 1;
                Some(Ok(Frame::data(Bytes::from_static(b"0123456789"))))
            }
        })
    }
}
