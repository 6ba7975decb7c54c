//! The response of a receiver, with a bounded body.

use std::io::Read;
use std::time::{Duration, SystemTime};

use tallies_names::is_printable;
use ureq::http::{HeaderMap, StatusCode};

/// The maximum length of a receiver's text in a message, in characters.
const MAX_TEXT_CHARS: usize = 500;
/// The longest time that a receiver may ask for before the next request.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 3600);

/// A response: status, headers, and the beginning of its body.
///
/// ```no_run
/// use tallies_client::ClientBuilder;
///
/// let client = ClientBuilder::new("gateway", "example/1.0").build("http://127.0.0.1:9091")?;
/// let response = client.send("GET", &[], None, 4096)?;
/// println!("{}: {}", response.status(), response.text());
/// # Ok::<(), tallies_client::ClientError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Response {
    pub(crate) status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Response {
    pub(crate) fn read(response: ureq::http::Response<ureq::Body>, most_bytes: usize) -> Self {
        let (head, body) = response.into_parts();
        // One byte more, because a connection is only reused after its response was read to the
        // end.
        let limit = (most_bytes as u64).saturating_add(1);
        let mut bytes = Vec::new();
        let _ = body.into_reader().take(limit).read_to_end(&mut bytes);
        bytes.truncate(most_bytes);
        Self {
            status: head.status,
            headers: head.headers,
            body: bytes,
        }
    }

    /// Returns the status.
    ///
    /// ```no_run
    /// # use tallies_client::ClientBuilder;
    /// # let client = ClientBuilder::new("gateway", "example/1.0").build("http://127.0.0.1:9091")?;
    /// assert_eq!(client.send("GET", &[], None, 4096)?.status(), 200);
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// Returns whether the status is 2xx.
    ///
    /// ```no_run
    /// # use tallies_client::ClientBuilder;
    /// # let client = ClientBuilder::new("gateway", "example/1.0").build("http://127.0.0.1:9091")?;
    /// assert!(client.send("GET", &[], None, 4096)?.is_success());
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status.is_success()
    }

    /// Returns all headers, with their names in lower case.
    ///
    /// ```no_run
    /// # use tallies_client::ClientBuilder;
    /// # let client = ClientBuilder::new("gateway", "example/1.0").build("http://127.0.0.1:9091")?;
    /// for (name, value) in client.send("GET", &[], None, 4096)?.headers() {
    ///     println!("{name}: {}", String::from_utf8_lossy(value));
    /// }
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let headers = self.headers.iter();
        headers.map(|(name, value)| (name.as_str(), value.as_bytes()))
    }

    /// Returns the value of the first header of this name, in upper or lower case.
    ///
    /// ```no_run
    /// # use tallies_client::ClientBuilder;
    /// # let client = ClientBuilder::new("gateway", "example/1.0").build("http://127.0.0.1:9091")?;
    /// let response = client.send("GET", &[], None, 4096)?;
    /// assert_eq!(response.header("Content-Type"), Some(&b"text/html"[..]));
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.get(name).map(|value| value.as_bytes())
    }

    /// Returns the body, up to the limit of [`Client::send`](crate::Client::send).
    ///
    /// ```no_run
    /// # use tallies_client::ClientBuilder;
    /// # let client = ClientBuilder::new("gateway", "example/1.0").build("http://127.0.0.1:9091")?;
    /// assert!(client.send("GET", &[], None, 4096)?.body().len() <= 4096);
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.body
    }

    /// Returns the body as [one line](one_line), for a message.
    ///
    /// ```no_run
    /// # use tallies_client::ClientBuilder;
    /// # let client = ClientBuilder::new("gateway", "example/1.0").build("http://127.0.0.1:9091")?;
    /// println!("the gateway says: {}", client.send("GET", &[], None, 4096)?.text());
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    #[must_use]
    pub fn text(&self) -> String {
        one_line(&String::from_utf8_lossy(&self.body))
    }

    /// Returns how long the receiver wants the client to wait before the next request, at most a
    /// day. A time before `now` is zero.
    ///
    /// ```no_run
    /// # use tallies_client::ClientBuilder;
    /// # let client = ClientBuilder::new("gateway", "example/1.0").build("http://127.0.0.1:9091")?;
    /// let response = client.send("GET", &[], None, 4096)?;
    /// if let Some(wait) = response.retry_after(std::time::SystemTime::now()) {
    ///     println!("the gateway is busy for {wait:?}");
    /// }
    /// # Ok::<(), tallies_client::ClientError>(())
    /// ```
    ///
    /// Source: `Retry-After`, as seconds or as a date (RFC 9110, 10.2.3).
    #[must_use]
    pub fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        let text = std::str::from_utf8(self.header("retry-after")?);
        let text = text.ok()?.trim();
        let is_seconds = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let wait = if is_seconds {
            // More seconds than a `u64` has are more than a day.
            text.parse::<u64>()
                .map_or(MAX_RETRY_AFTER, Duration::from_secs)
        } else {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(now).unwrap_or_default()
        };
        Some(wait.min(MAX_RETRY_AFTER))
    }
}

/// Converts a text from a receiver to one line, without control characters and with at most 500
/// characters.
///
/// ```
/// assert_eq!(tallies_client::one_line("error\nin line 1\u{1b}[2J\n"), "error in line 1 [2J");
/// ```
#[must_use]
pub fn one_line(text: &str) -> String {
    text.trim()
        .chars()
        .map(|c| if is_printable(c) { c } else { ' ' })
        .take(MAX_TEXT_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use ureq::http::HeaderValue;

    use super::*;

    fn retry_after(value: &[u8]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(value).unwrap();
        headers.insert("retry-after", value);
        let response = Response {
            status: StatusCode::SERVICE_UNAVAILABLE,
            headers,
            body: Vec::new(),
        };
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        response.retry_after(now).map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_in_seconds_or_as_a_date() {
        const DAY: u64 = 24 * 3600;
        for (value, expected) in [
            (&b"120"[..], Some(120)),
            (b"0", Some(0)),
            (b" 7 ", Some(7)),
            (b"86401", Some(DAY)),
            (b"99999999999999999999999", Some(DAY)),
            (b"Sun, 06 Nov 1994 08:49:47 GMT", Some(10)),
            (b"Sunday, 06-Nov-94 08:50:37 GMT", Some(60)),
            (b"Sun Nov  6 08:49:37 1994", Some(0)),
            // In the past, and years ahead.
            (b"Sun, 06 Nov 1994 08:49:36 GMT", Some(0)),
            (b"Wed, 21 Oct 2015 07:28:00 GMT", Some(DAY)),
            (b"", None),
            (b"-1", None),
            (b"+1", None),
            (b"1.5", None),
            (b"1, 2", None),
            (b"soon", None),
            (b"\xFF", None),
            // Not a Sunday.
            (b"Sun, 07 Nov 1994 08:49:37 GMT", None),
        ] {
            let shown = value.escape_ascii();
            assert_eq!(retry_after(value), expected, "{shown}");
        }
    }

    #[test]
    fn a_response_without_the_header_asks_for_nothing() {
        let response = Response {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Vec::new(),
        };
        assert_eq!(response.retry_after(SystemTime::now()), None);
    }

    #[test]
    fn one_line_has_500_printable_characters() {
        let line = one_line(&"ä\u{1b}\n".repeat(1000));
        assert_eq!(line.chars().count(), 500);
        assert!(line.chars().all(|c| c == 'ä' || c == ' '), "{line}");
        assert_eq!(one_line("\n\t\n"), "");
    }
}
