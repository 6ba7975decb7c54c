//! Connections: accepted while there is room, served within their limits, let go when the service stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::header::CONNECTION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::listen::{Accepting, Listener, Stream};
use super::routes::Routes;
use super::seats::{Seat, Seats, State, Taken};
use super::stream::{Reset, Timed, bound_kernel};

/// How long a stop waits for answers that are under way.
pub(super) const DRAIN: Duration = Duration::from_secs(2);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once; a further one takes the place of the longest idle.
    pub(super) connections: usize,
    /// Pages being made at once; further requests wait.
    pub(super) scrapes: usize,
    /// How long a client may take for a TLS handshake, and how long until its next request's head is complete.
    pub(super) head: Duration,
    /// How long an answer may take to be made, and how long to be taken.
    pub(super) answer: Duration,
    /// How old a connection may become.
    pub(super) age: Duration,
    /// Bytes of pages that readers are taking.
    pub(super) pages: usize,
}

/// What all connections share.
pub(super) struct Host {
    pub(super) routes: Routes,
    pub(super) limits: Limits,
    pub(super) seats: Arc<Seats>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<super::tls::Tls>,
    /// Held once by every connection: their count.
    pub(super) open: Arc<()>,
}

type Stopped = watch::Receiver<bool>;

/// Serves until `stopped` says so, then lets those under way end.
pub(super) async fn serve(listeners: Vec<Listener>, host: Arc<Host>, stopped: Stopped) {
    let mut all = JoinSet::new();
    for listener in listeners {
        match listener.accepting() {
            Ok(listener) => {
                all.spawn(listen(listener, Arc::clone(&host), stopped.clone()));
            }
            // It is bound and listens: only a runtime without I/O comes here, or one that is ending.
            Err(e) => crate::error::warn_once(&crate::Error::serve("cannot accept", e)),
        }
    }
    while all.join_next().await.is_some() {}
}

async fn listen(listener: Accepting, host: Arc<Host>, mut stopped: Stopped) {
    let mut connections = JoinSet::new();
    let ending = stopped.clone();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            // The sender is dropped with a `Serving` that nobody kept: then it goes on for ever.
            Ok(_) = stopped.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &host.seats) => accepted,
        };
        if let Some((stream, taken)) = accepted {
            let (host, ending) = (Arc::clone(&host), ending.clone());
            let open = Arc::clone(&host.open);
            connections.spawn(async move {
                let evicted = {
                    let seat = Arc::clone(&taken.seat);
                    async move { seat.evicted().await }
                };
                tokio::select! {
                    () = connection(stream, &host, &taken.seat, ending) => {}
                    () = evicted => {}
                }
                drop((taken, open));
            });
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

/// The next connection, when there is a seat for it; `None` where accepting failed, which is tried again a little later.
async fn accept(listener: &Accepting, seats: &Arc<Seats>) -> Option<(Stream, Taken)> {
    match listener.accept().await {
        Ok(stream) => Some((stream, seats.take().await)),
        Err(_) => {
            // Out of file descriptors, say: a loop without a pause would only make it worse.
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn connection(stream: Stream, host: &Arc<Host>, seat: &Arc<Seat>, ending: Stopped) {
    if let Stream::Tcp(stream) = &stream {
        bound_kernel(stream, host.limits.answer);
    }
    match stream {
        #[cfg(feature = "tls")]
        Stream::Tcp(stream) if let Some(tls) = &host.tls => {
            let mut stop = ending.clone();
            let (acceptor, made) = tls.acceptor();
            let shaken = tokio::select! {
                Ok(_) = stop.wait_for(|stop| *stop) => return,
                shaken = tokio::time::timeout(host.limits.head, acceptor.accept(stream)) => shaken,
            };
            // A client's error is the client's.
            if let Ok(Ok(stream)) = shaken {
                // A client whose certificate is no longer trusted is let go after its next request at the latest.
                let is_current = {
                    let host = Arc::clone(host);
                    move || host.tls.as_ref().is_none_or(|tls| tls.is_current(made))
                };
                requests(stream, host, seat, ending, is_current).await;
            }
        }
        Stream::Tcp(stream) => requests(stream, host, seat, ending, || true).await,
        // Who may open the file is a matter of its folder; there is no TLS.
        #[cfg(unix)]
        Stream::Unix(stream) => requests(stream, host, seat, ending, || true).await,
    }
}

/// Answers one request after another, until the connection is too old, or no longer `is_current`.
async fn requests<S>(
    stream: S,
    host: &Arc<Host>,
    seat: &Arc<Seat>,
    mut ending: Stopped,
    is_current: impl Fn() -> bool + Send + Sync + 'static,
) where
    S: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
{
    let is_current = Arc::new(is_current);
    let service = service_fn(|request| {
        let (host, seat) = (Arc::clone(host), Arc::clone(seat));
        let is_current = Arc::clone(&is_current);
        async move {
            seat.set(State::Making);
            let mut answer = host.routes.answer(request).await;
            if !is_current() {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(CONNECTION, close);
            }
            seat.set(State::Writing);
            Ok::<_, Infallible>(answer)
        }
    });
    let timed = Timed::new(stream, host.limits.answer, Arc::clone(seat));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(host.limits.head)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(timed), service);
    tokio::pin!(connection);
    let end = tokio::select! {
        end = connection.as_mut() => Some(end),
        Ok(_) = ending.wait_for(|stop| *stop) => None,
        () = tokio::time::sleep(host.limits.age) => None,
    };
    if end.is_none() {
        connection.as_mut().graceful_shutdown();
        // A client's error is the client's.
        let _ = connection.await;
    }
}
