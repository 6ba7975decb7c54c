//! Additions of a program to the service: work before each page, further pages, its own
//! authentication, and a record of each request. Exporters do.

use std::fmt::{self, Debug};
use std::future::{Future, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::serve::peer::Peer;
use crate::snapshot::Source;

/// A future in a box.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The additions of a program to a [`Server`](crate::serve::Server). Each method is called for
/// every request, concurrently, and does nothing by default. A panic ends the connection, without
/// an answer.
///
/// ```
/// use tallies::serve::Server;
/// use tallies::serve::{Extension, Later, PageTime};
///
/// struct Queue {
///     length: tallies::Gauge,
/// }
///
/// impl Extension for Queue {
///     fn before_page(&self, _: PageTime) -> Later<'_, ()> {
///         Box::pin(async { self.length.set(42.0) }) // asks the queue
///     }
/// }
///
/// let length = tallies::registry().gauge("queue_length", "Jobs waiting.")?;
/// let serving = Server::new().extension(Queue { length }).listen("127.0.0.1:0")?;
/// # serving.stop();
/// # Ok::<(), tallies::Error>(())
/// ```
pub trait Extension: Send + Sync {
    /// Returns the value of the header `Server`.
    fn server_name(&self) -> HeaderValue {
        HeaderValue::from_static("tallies")
    }

    /// Returns further headers of every response.
    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        Vec::new()
    }

    /// Returns the HTML of the page at `/`, or `None` for the page of the service. `metrics` is the
    /// path of the metrics page, escaped for an attribute in single quotes.
    fn home(&self, metrics: &str) -> Option<String> {
        let _ = metrics;
        None
    }

    /// Returns the answer to a request that names a host which is not
    /// [admitted](crate::serve::Server::hosts).
    fn unknown_host(&self) -> &'static str {
        "unknown host\n"
    }

    /// Decides whether a request may be answered, beside the server's own credentials. Probes at
    /// `/-/healthy` and `/-/ready` are always answered.
    fn admit(&self, headers: &HeaderMap, client: Peer) -> Admission {
        let _ = (headers, client);
        Admission::Admitted
    }

    /// Runs before a metrics page is made, which waits for it.
    fn before_page(&self, time: PageTime) -> Later<'_, ()> {
        let _ = time;
        Box::pin(ready(()))
    }

    /// Returns what runs before the live page takes a snapshot, which waits for it: it decides
    /// itself how long that may take. `None`, if nothing does; the answer must not change. A live
    /// page that has such work shows nothing from before it was opened, because nobody does the
    /// work then.
    fn before_moment(&self) -> Option<Later<'_, ()>> {
        None
    }

    /// Returns the registry of a page that is made for one request, or `None` if there is no such
    /// page at this path.
    fn page(&self, path: &str, query: &str, time: PageTime) -> Option<Later<'_, PageSource>> {
        let _ = (path, query, time);
        None
    }

    /// Records an answered request.
    fn record(&self, record: &Record<'_>) {
        let _ = record;
    }
}

/// The extension of a server that has none.
pub(super) struct NoExtension;

impl Extension for NoExtension {}

/// The source of a page that is made for one request, or a status and a text.
pub type PageSource = Result<Arc<dyn Source>, (StatusCode, String)>;

/// The time that a request allows for its page.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct PageTime {
    /// The time until the first block of the page has to be ready.
    pub limit: Duration,
    /// Whether the client told its own timeout.
    pub by_client: bool,
}

/// Whether a request is answered.
#[non_exhaustive]
pub enum Admission {
    /// It is.
    Admitted,
    /// No valid credentials. The answer asks for a user name and a password.
    Unauthorized,
    /// There are too many such requests. The answer says so.
    TooMany,
    /// The result of a function that takes long, such as the check of a password. The service calls
    /// it on a thread for blocking work, one at a time, for the hosts in turn. A request of a host
    /// waits for about one call of each other one. If too many wait, the answer is that of
    /// [`TooMany`](Self::TooMany).
    Check(Box<dyn FnOnce() -> bool + Send>),
}

impl Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admitted => "Admitted",
            Self::Unauthorized => "Unauthorized",
            Self::TooMany => "TooMany",
            Self::Check(_) => "Check(..)",
        })
    }
}

/// An answered request.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Record<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, without the query.
    pub path: &'a str,
    /// The client, or `None` for a Unix socket.
    pub remote: Option<SocketAddr>,
    /// The status of the answer.
    pub status: u16,
    /// The length of the body in bytes, unless blocks of it have yet to be made.
    pub size: Option<usize>,
    /// The time until the answer was ready.
    pub duration: Duration,
}
