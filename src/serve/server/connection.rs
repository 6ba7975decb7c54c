//! Connections: the service accepts them while seats are free, applies its limits, and closes them
//! when it stops.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::CONNECTION;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::serve::answer::set;
use crate::serve::peer::Peer;

use super::listen::{AsyncListener, ClientStream, Listener};
use super::routes::Routes;
use super::seats::{Activity, Seat, Seats};
use super::stream::{Reset, TimedStream, limit_kernel_buffers};
use super::timed_body::TimedBody;

/// The maximum time that a stop waits for responses in flight.
pub(super) const DRAIN: Duration = Duration::from_secs(2);
/// The maximum size of a request's head, in bytes.
const HEAD_BYTES: usize = 16 * 1024;

/// The limits of a service.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Maximum number of open connections. A further one replaces the one that has been idle
    /// longest.
    pub(super) connections: usize,
    /// Maximum number of pages that are rendered at once. Further requests wait.
    pub(super) scrapes: usize,
    /// Maximum time for a TLS handshake, and until the head of the next request is complete.
    pub(super) head: Duration,
    /// Maximum time to render the first block of a page, and to read the response.
    pub(super) answer: Duration,
    /// Maximum age of a connection.
    pub(super) age: Duration,
    /// Maximum bytes of scrapes and blocks that clients are reading.
    pub(super) pages: usize,
}

/// The state that all connections of a service share. Its fields are set before the start.
pub(super) struct Host {
    pub(super) routes: Routes,
    pub(super) limits: Limits,
    pub(super) seats: Arc<Seats>,
    #[cfg(feature = "tls")]
    pub(super) tls: Option<super::tls::Tls>,
    /// Cloned by every open connection, so its reference count is the number of connections.
    pub(super) open: Arc<()>,
}

/// Turns `true` when the service has to stop.
type StopSignal = watch::Receiver<bool>;

/// Serves until `stopped` is `true`, then waits for connections to finish.
pub(super) async fn serve(listeners: Vec<Listener>, host: Arc<Host>, stopped: StopSignal) {
    if let Some(live) = &host.routes.live {
        live.remember();
    }
    let mut all = JoinSet::new();
    for listener in listeners {
        match listener.into_async() {
            Ok(listener) => _ = all.spawn(listen(listener, Arc::clone(&host), stopped.clone())),
            // The socket is bound and listens, so this only fails if the runtime has no I/O driver
            // or is shutting down.
            Err(e) => Error::with_cause("cannot accept connections", e).log_once(),
        }
    }
    while all.join_next().await.is_some() {}
}

/// Accepts connections and serves each in a task, until `stopped` is `true`.
async fn listen(listener: AsyncListener, host: Arc<Host>, mut stopped: StopSignal) {
    let mut connections = JoinSet::new();
    let ending = stopped.clone();
    loop {
        while connections.try_join_next().is_some() {}
        let stream = tokio::select! {
            // If the user dropped the `Serving`, its sender is gone and `wait_for` fails. The
            // pattern then does not match, and the service keeps running.
            Ok(_) = stopped.wait_for(|stop| *stop) => break,
            stream = listener.accept() => stream,
        };
        let (host, mut ending) = (Arc::clone(&host), ending.clone());
        connections.spawn(async move {
            let peer = stream.remote().map_or(Peer::Unix, Peer::of);
            let guard = tokio::select! {
                Ok(_) = ending.wait_for(|stop| *stop) => return,
                guard = host.seats.take(peer) => guard,
            };
            let Some(guard) = guard else { return };
            let open = Arc::clone(&host.open);
            tokio::select! {
                () = connection(stream, &host, &guard.seat, ending) => {}
                () = guard.seat.evicted() => {}
            }
            drop((guard, open));
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

/// Performs the TLS handshake if there is TLS, then serves requests.
async fn connection(stream: ClientStream, host: &Arc<Host>, seat: &Arc<Seat>, ending: StopSignal) {
    let remote = stream.remote();
    let stream = match stream {
        ClientStream::Tcp(stream) => stream,
        // The permissions of the socket file and its directory control access, so there is no TLS.
        #[cfg(unix)]
        ClientStream::Unix(stream) => {
            return requests(stream, host, None, seat, ending, || true).await;
        }
    };
    // Pages are written whole, so Nagle's algorithm would only delay their last packet.
    let _ = stream.set_nodelay(true);
    limit_kernel_buffers(&stream, host.limits.answer);
    #[cfg(feature = "tls")]
    if let Some(tls) = &host.tls {
        let mut stop = ending.clone();
        let (acceptor, config) = tls.acceptor();
        let handshake = tokio::select! {
            Ok(_) = stop.wait_for(|stop| *stop) => return,
            handshake = tokio::time::timeout(host.limits.head, acceptor.accept(stream)) => handshake,
        };
        // A failed handshake is the client's problem, so it is not logged.
        if let Ok(Ok(stream)) = handshake {
            // A client whose certificate is no longer trusted is disconnected after its next
            // request at the latest.
            let own = Arc::clone(host);
            let is_current = move || own.tls.as_ref().is_none_or(|tls| tls.is_current(&config));
            requests(stream, host, remote, seat, ending, is_current).await;
        }
        return;
    }
    requests(stream, host, remote, seat, ending, || true).await;
}

/// Answers requests one after another until the connection is too old, `is_current` returns
/// `false`, or the service stops. `remote` is the client, unless it is at a Unix socket.
async fn requests<S>(
    stream: S,
    host: &Arc<Host>,
    remote: Option<SocketAddr>,
    seat: &Arc<Seat>,
    mut ending: StopSignal,
    is_current: impl Fn() -> bool + Send + Sync + 'static,
) where
    S: AsyncRead + AsyncWrite + Reset + Unpin + Send + 'static,
{
    let is_current = Arc::new(is_current);
    let service = service_fn(|request| {
        let (host, seat) = (Arc::clone(host), Arc::clone(seat));
        let is_current = Arc::clone(&is_current);
        async move {
            seat.set(Activity::Queued);
            let mut answer = host.routes.answer(request, remote, &seat).await;
            if host.seats.are_taken() || !is_current() {
                set(&mut answer, CONNECTION, "close");
            }
            seat.set(Activity::Writing);
            let limit = host.limits.answer;
            Ok::<_, Infallible>(answer.map(|body| TimedBody::new(body, seat, limit)))
        }
    });
    let timed = TimedStream::new(stream, host.limits.answer, Arc::clone(seat));
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
        seat.close();
        connection.as_mut().graceful_shutdown();
        // An error here is caused by the client, so it is not logged.
        let _ = connection.await;
    }
}
