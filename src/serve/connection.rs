//! Connections: accepted while there is room, served within their limits, let go when the service stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use super::listen::{Accepting, Listener, Stream};
use super::routes::Routes;
use super::stream::Timed;

/// How long a stop waits for answers that are under way.
pub(super) const DRAIN: Duration = Duration::from_secs(2);
/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Connections at once; further ones wait to be accepted.
    pub(super) connections: usize,
    /// Pages being made at once; further requests wait.
    pub(super) scrapes: usize,
    /// How long a client may take for a TLS handshake, and how long until its next request's head is complete.
    pub(super) head: Duration,
    /// How long an answer may take to be made, and how long to be taken.
    pub(super) answer: Duration,
}

/// What all connections share.
pub(super) struct Host {
    pub(super) routes: Routes,
    pub(super) limits: Limits,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<super::tls::Tls>,
    /// Held once by every connection: their count.
    pub(super) open: Arc<()>,
}

type Stopped = watch::Receiver<bool>;

/// Serves until `stopped` says so, then lets those under way end.
pub(super) async fn serve(listeners: Vec<Listener>, host: Arc<Host>, stopped: Stopped) {
    let places = Arc::new(Semaphore::new(host.limits.connections));
    let mut all = JoinSet::new();
    for listener in listeners {
        match listener.accepting() {
            Ok(listener) => {
                let (places, host) = (Arc::clone(&places), Arc::clone(&host));
                all.spawn(listen(listener, places, host, stopped.clone()));
            }
            // It is bound and listens: only a runtime without I/O comes here, or one that is ending.
            Err(e) => crate::error::report_once(&crate::Error::serve("cannot accept", e)),
        }
    }
    while all.join_next().await.is_some() {}
}

async fn listen(
    listener: Accepting,
    places: Arc<Semaphore>,
    host: Arc<Host>,
    mut stopped: Stopped,
) {
    let mut connections = JoinSet::new();
    let ending = stopped.clone();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            // The sender is dropped with a `Serving` that nobody kept: then it goes on for ever.
            Ok(_) = stopped.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        if let Some((stream, place)) = accepted {
            let (host, ending) = (Arc::clone(&host), ending.clone());
            let open = Arc::clone(&host.open);
            connections.spawn(async move {
                connection(stream, &host, ending).await;
                drop((place, open));
            });
        }
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

/// The next connection, when there is a place for it; `None` where accepting failed, which is tried again a little later.
async fn accept(
    listener: &Accepting,
    places: &Arc<Semaphore>,
) -> Option<(Stream, OwnedSemaphorePermit)> {
    match listener.accept().await {
        Ok(stream) => Some((stream, Arc::clone(places).acquire_owned().await.ok()?)),
        Err(_) => {
            // Out of file descriptors, say: a loop without a pause would only make it worse.
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

async fn connection(stream: Stream, host: &Arc<Host>, ending: Stopped) {
    match stream {
        #[cfg(feature = "tls")]
        Stream::Tcp(stream) if let Some(tls) = &host.tls => {
            let mut stop = ending.clone();
            let shaken = tokio::select! {
                Ok(_) = stop.wait_for(|stop| *stop) => return,
                shaken = tokio::time::timeout(host.limits.head, tls.acceptor().accept(stream)) => shaken,
            };
            // A client's error is the client's.
            if let Ok(Ok(stream)) = shaken {
                requests(stream, host, ending).await;
            }
        }
        Stream::Tcp(stream) => requests(stream, host, ending).await,
        // Who may open the file is a matter of its folder; there is no TLS.
        #[cfg(unix)]
        Stream::Unix(stream) => requests(stream, host, ending).await,
    }
}

async fn requests<S>(stream: S, host: &Arc<Host>, mut ending: Stopped)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request| {
        let host = Arc::clone(host);
        async move { Ok::<_, Infallible>(host.routes.answer(request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(host.limits.head)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(
            TokioIo::new(Timed::new(stream, host.limits.answer)),
            service,
        );
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
}
