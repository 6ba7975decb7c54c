//! Extensions of the service by a program: work before each page, further pages, its own
//! authentication, and a record of each request. An exporter does.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use crate::snapshot::Source;

use super::peer::Peer;

pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The additions of a program. All methods are called for every request, concurrently.
pub(crate) trait Extension: Send + Sync {
    /// Returns the value of the header `Server`.
    fn server_name(&self) -> HeaderValue;

    /// Returns further headers of every response.
    fn headers(&self) -> Vec<(HeaderName, HeaderValue)>;

    /// Returns the HTML of the page at `/`. `metrics` is the path of the metrics page, escaped.
    fn home(&self, metrics: &str) -> String;

    /// Decides whether a request may be answered, apart from the server's own credentials.
    fn admit<'a>(&'a self, headers: &'a HeaderMap, peer: Option<Peer>) -> Later<'a, Admission>;

    /// Runs before a metrics page is made. The page waits for it.
    fn before_page(&self, time: PageTime) -> Later<'_, ()>;

    /// Runs before the live page takes a snapshot, which waits for it. Decides itself how long that
    /// may take.
    #[cfg(feature = "live")]
    fn before_moment(&self) -> Later<'_, ()>;

    /// Returns the registry of a page that is made for one request, or `None` if the program has
    /// no page at this path.
    fn page<'a>(
        &'a self,
        path: &'a str,
        query: &'a str,
        time: PageTime,
    ) -> Option<Later<'a, Result<Arc<dyn Source>, NoPage>>>;

    /// Records an answered request.
    fn record(&self, record: &Record<'_>);
}

/// The reason for which there is no page: a status and a text.
pub(crate) type NoPage = (StatusCode, String);

/// The time that a request allows for its page.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PageTime {
    /// The time until the first block of the page has to be ready.
    pub(crate) limit: Duration,
    /// Whether the client told its own timeout.
    pub(crate) by_client: bool,
}

/// Whether a request is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Admitted,
    /// No valid credentials. The answer asks for a user name and a password.
    Unauthorized,
    TooMany,
}

/// An answered request.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    /// `None` for a Unix socket.
    pub(crate) remote: Option<SocketAddr>,
    pub(crate) status: u16,
    /// The length of the body in bytes, unless blocks of it have yet to be made.
    pub(crate) size: Option<usize>,
    pub(crate) duration: Duration,
}
