//! The error type of the crate: a message, and how an operation on a socket failed.

use std::fmt;
use std::io;

use tallies_names::Printable;

/// An error: what went wrong, where, and what would be right.
///
/// ```
/// let error = tallies_client::base_url("gateway", "localhost:9091").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "gateway URL `localhost:9091` has to begin with `http://` or `https://`"
/// );
/// ```
///
/// The message is one line. It shows no credentials, and nothing that a terminal would obey. It
/// includes the cause, so `source()` returns `None`.
#[derive(Debug)]
pub struct ClientError {
    message: String,
    io_kind: Option<io::ErrorKind>,
}

impl ClientError {
    pub(crate) fn new(io_kind: Option<io::ErrorKind>, message: fmt::Arguments<'_>) -> Self {
        let message = Printable(&message.to_string()).to_string();
        Self { message, io_kind }
    }

    /// Creates the error of a setting with a value that breaks a rule.
    pub(crate) fn setting(what: &str, value: &str, rule: &str) -> Self {
        let value = value.escape_debug();
        Self::new(None, format_args!("{what} `{value}` {rule}"))
    }

    /// Returns how an operation on a socket failed, or `None` for other errors. A receiver that
    /// does not respond in time is [`TimedOut`](io::ErrorKind::TimedOut).
    ///
    /// ```
    /// use std::time::Duration;
    /// use tallies_client::ClientBuilder;
    ///
    /// // Nobody accepts the connection that the system establishes.
    /// let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let url = format!("http://{}", listener.local_addr().unwrap());
    /// let builder = ClientBuilder::new("gateway", "").timeout(Duration::from_millis(10));
    /// let error = builder.build(&url)?.send("GET", &[], None, 0).unwrap_err();
    /// assert_eq!(error.io_kind(), Some(std::io::ErrorKind::TimedOut));
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        self.io_kind
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ClientError {}
