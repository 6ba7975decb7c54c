//! The five routes, and the connections.

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::encode;

use super::DRAIN;
use super::scrape::Scraper;

/// Connections at once; further ones wait to be accepted.
const CONNECTIONS: usize = 256;
/// How long a client may take to send its request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

/// What is answered where.
pub(super) struct Routes {
    scraper: Arc<Scraper>,
    path: String,
    home: String,
}

impl Routes {
    pub(super) fn new(scraper: Arc<Scraper>, path: &str) -> Self {
        Self {
            scraper,
            path: path.to_owned(),
            home: format!(
                "<html><body><a href='{}'>metrics</a></body></html>",
                escaped(path)
            ),
        }
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path();
        let known = path == self.path || path == "/" || path == "/robots.txt";
        let mut response = if !known {
            plain(StatusCode::NOT_FOUND, "not found\n")
        } else if *request.method() != Method::GET && *request.method() != Method::HEAD {
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            response
        } else if path == self.path {
            self.metrics().await
        } else if path == "/" {
            content(
                StatusCode::OK,
                "text/html; charset=utf-8",
                self.home.clone().into(),
            )
        } else {
            plain(StatusCode::OK, "User-agent: *\nDisallow: /\n")
        };
        if *request.method() == Method::HEAD {
            // The headers of GET, its length included, and no body.
            *response.body_mut() = Full::default();
        }
        response
    }

    async fn metrics(&self) -> Response<Full<Bytes>> {
        let scraper = Arc::clone(&self.scraper);
        match tokio::task::spawn_blocking(move || scraper.page()).await {
            Ok(page) => content(StatusCode::OK, encode::Format::TEXT.content_type(), Bytes::from_owner(Page(page))),
            // A pass does not panic; if one does, the next scrape may fare better.
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the scrape failed\n"),
        }
    }
}

/// A page being sent; its memory is free again when the last one of them is gone.
struct Page(Arc<Vec<u8>>);

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    content(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

fn content(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let length = HeaderValue::from(body.len());
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, length);
    response
}

/// A path inside an HTML attribute in single quotes.
fn escaped(path: &str) -> String {
    path.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('\'', "&#39;")
}

/// Accepts connections until `stopped` says so, then lets those under way end.
pub(super) async fn serve(
    listener: TcpListener,
    routes: Arc<Routes>,
    mut stopped: watch::Receiver<bool>,
) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
        return;
    };
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    let ending = stopped.clone();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            // The sender is dropped with a `Serving` that nobody kept: then it goes on for ever.
            Ok(_) = stopped.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let Some((stream, place)) = accepted else {
            continue;
        };
        let (routes, mut ending) = (Arc::clone(&routes), ending.clone());
        connections.spawn(async move {
            let service = service_fn(move |request| {
                let routes = Arc::clone(&routes);
                async move { Ok::<_, Infallible>(routes.answer(&request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            tokio::pin!(connection);
            let end = tokio::select! {
                end = connection.as_mut() => Some(end),
                Ok(_) = ending.wait_for(|stop| *stop) => None,
            };
            if end.is_none() {
                connection.as_mut().graceful_shutdown();
                // A client's error is the client's.
                let _ = connection.await;
            }
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

type Accepted = (tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit);

/// The next connection there is a place for; `None` where accepting failed, which is tried again a little later.
async fn accept(listener: &tokio::net::TcpListener, places: &Arc<Semaphore>) -> Option<Accepted> {
    let place = Arc::clone(places).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, place)),
        Err(_) => {
            // Out of file descriptors, say: a loop without a pause would only make it worse.
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}
