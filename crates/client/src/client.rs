//! The client of one receiver: sends requests, and turns failures into errors.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ureq::Agent;
use ureq::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use ureq::http::{self, Request, Uri};

use crate::url::is_local;
use crate::{ClientError, Response, one_line};

/// A client of one receiver. It keeps connections open for the next request. Clones share them.
///
/// ```no_run
/// use tallies_client::{ClientBuilder, base_url};
///
/// let url = base_url("receiver", "http://127.0.0.1:4318/v1/metrics")?;
/// let client = ClientBuilder::new("receiver", "example/1.0").build(&url)?;
/// let headers = [("content-type", "application/x-protobuf")];
/// let response = client.send("POST", &headers, Some(&[]), 65_536)?;
/// println!("{}", response.status());
/// # Ok::<(), tallies_client::ClientError>(())
/// ```
#[derive(Clone)]
pub struct Client {
    pub(crate) agent: Agent,
    /// The word for the receiver in errors.
    pub(crate) receiver: String,
    pub(crate) url: String,
    /// The same URL, parsed.
    pub(crate) uri: Uri,
    pub(crate) timeout: Duration,
    /// The headers of every request.
    pub(crate) headers: HeaderMap,
    /// The number of requests that are under way, of all clones.
    pub(crate) under_way: Arc<Mutex<usize>>,
}

/// Counts a request as under way until it is dropped.
struct UnderWay<'a>(&'a Mutex<usize>);

impl<'a> UnderWay<'a> {
    fn new(requests: &'a Mutex<usize>) -> Self {
        *requests.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        Self(requests)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
    }
}

impl Client {
    /// Returns the URL of the receiver.
    ///
    /// ```
    /// # use tallies_client::ClientBuilder;
    /// let client = ClientBuilder::new("gateway", "example/1.0").build("http://127.0.0.1:9091")?;
    /// assert_eq!(client.url(), "http://127.0.0.1:9091");
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the time that a request may take.
    ///
    /// ```
    /// # use tallies_client::ClientBuilder;
    /// let client = ClientBuilder::new("gateway", "example/1.0").build("http://127.0.0.1:9091")?;
    /// assert_eq!(client.timeout(), std::time::Duration::from_secs(10));
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Returns a warning if requests send a password or token unencrypted to another machine. The
    /// caller logs it once. It begins with `requests`, the word for what the client sends.
    ///
    /// ```
    /// # use tallies_client::ClientBuilder;
    /// let builder = ClientBuilder::new("gateway", "example/1.0").bearer_token("a long secret");
    /// assert_eq!(
    ///     builder.build("http://gw:9091")?.warning("pushes").unwrap(),
    ///     "pushes to `http://gw:9091` send a password or token unencrypted; use an `https://` URL"
    /// );
    /// assert_eq!(builder.build("http://127.0.0.1:9091")?.warning("pushes"), None);
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    ///
    /// It does not look at extra headers, because many are no secrets.
    #[must_use]
    pub fn warning(&self, requests: &str) -> Option<String> {
        let is_plain = self.uri.scheme() == Some(&http::uri::Scheme::HTTP) && !is_local(&self.uri);
        let is_secret = self.headers.contains_key(header::AUTHORIZATION);
        (is_plain && is_secret).then(|| {
            format!(
                "{requests} to `{}` send a password or token unencrypted; use an `https://` URL",
                self.url
            )
        })
    }

    /// Sends a request and reads the response, with at most `most_bytes` of its body. Any status is
    /// a response.
    ///
    /// A header replaces one of [`ClientBuilder::header`](crate::ClientBuilder::header) with the
    /// same name. `None` for `body` is for methods without content, such as GET and DELETE: no
    /// length is sent. A connection is reused if the response is not longer than `most_bytes`. If a
    /// body ends early or takes longer than a quarter of the timeout, the response has the part
    /// that has arrived, because the status matters most.
    ///
    /// ```no_run
    /// # use tallies_client::ClientBuilder;
    /// let client = ClientBuilder::new("gateway", "example/1.0").build("http://127.0.0.1:9091")?;
    /// let response = client.send("PUT", &[("content-type", "text/plain")], Some(b"x 1\n"), 4096)?;
    /// assert!(response.is_success());
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns an error in these cases. The message begins with the method and the URL.
    ///
    /// - The method or a header is not valid.
    /// - The receiver cannot be reached, or closes the connection.
    /// - The receiver does not respond within the timeout
    ///   ([`TimedOut`](std::io::ErrorKind::TimedOut)), or does not speak HTTP.
    pub fn send(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
        most_bytes: usize,
    ) -> Result<Response, ClientError> {
        let _under_way = UnderWay::new(&self.under_way);
        let request = self.request(method, headers);
        let sent = request.map_err(ureq::Error::Http).and_then(|request| {
            let (parts, ()) = request.into_parts();
            match body {
                Some(body) => self.agent.run(Request::from_parts(parts, body)),
                None => self.agent.run(Request::from_parts(parts, ())),
            }
        });
        match sent {
            Ok(response) => Ok(Response::read(response, most_bytes)),
            Err(ureq::Error::Timeout(_)) => Err(self.no_response(method)),
            Err(ureq::Error::Io(e)) => Err(self.failed(method, Some(e.kind()), &e)),
            Err(ureq::Error::Http(e)) => Err(self.failed(method, None, &e)),
            Err(e) => Err(self.failed(method, None, &e)),
        }
    }

    fn request(&self, method: &str, headers: &[(&str, &str)]) -> Result<Request<()>, http::Error> {
        let mut all = self.headers.clone();
        for (name, value) in headers {
            all.insert(HeaderName::try_from(*name)?, HeaderValue::from_str(value)?);
        }
        let request = Request::builder().method(method).uri(self.uri.clone());
        let mut request = request.body(())?;
        *request.headers_mut() = all;
        Ok(request)
    }

    fn failed(
        &self,
        method: &str,
        kind: Option<io::ErrorKind>,
        cause: &dyn fmt::Display,
    ) -> ClientError {
        ClientError::new(kind, format_args!("{method} {}: {cause}", self.url))
    }

    /// Returns the error of a caller that stops waiting for a thread that sends metrics by this
    /// client or a clone: the receiver does not respond if a request is under way, and otherwise
    /// the program's own part takes too long.
    ///
    /// ```
    /// # use tallies_client::ClientBuilder;
    /// let client = ClientBuilder::new("gateway", "example/1.0").build("http://127.0.0.1:9091")?;
    /// let error = client.timed_out("PUT");
    /// assert_eq!(
    ///     error.to_string(),
    ///     "PUT http://127.0.0.1:9091: no request was under way; a collector or callback hangs"
    /// );
    /// assert_eq!(error.io_kind(), Some(std::io::ErrorKind::TimedOut));
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    #[must_use]
    pub fn timed_out(&self, method: &str) -> ClientError {
        let requests = *self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if requests > 0 {
            return self.no_response(method);
        }
        let why = "no request was under way; a collector or callback hangs";
        self.failed(method, Some(io::ErrorKind::TimedOut), &why)
    }

    fn no_response(&self, method: &str) -> ClientError {
        let why = format!("no response within {:?}", self.timeout);
        self.failed(method, Some(io::ErrorKind::TimedOut), &why)
    }

    /// Returns the error of a response with a status other than 2xx, with the receiver's text.
    ///
    /// ```no_run
    /// # use tallies_client::ClientBuilder;
    /// let client = ClientBuilder::new("gateway", "example/1.0").build("http://127.0.0.1:9091")?;
    /// let response = client.send("DELETE", &[], None, 4096)?;
    /// // DELETE http://127.0.0.1:9091: 404 Not Found: 404 page not found
    /// println!("{}", client.rejected("DELETE", &response));
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    #[must_use]
    pub fn rejected(&self, method: &str, response: &Response) -> ClientError {
        let location = response.header("location");
        let why = match location.filter(|_| response.status.is_redirection()) {
            // Following the redirect would lose the method.
            Some(to) => format!(
                "the {} has moved; push to the address that `{}` leads to",
                self.receiver,
                one_line(&String::from_utf8_lossy(to))
            ),
            None => match response.text() {
                text if text.is_empty() => "no reason given".to_owned(),
                text => text,
            },
        };
        let status = response.status;
        self.failed(method, None, &format_args!("{status}: {why}"))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("url", &self.url)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
