//! The client for a gateway. A push takes a snapshot, checks it against the group's labels, sends
//! it as text, and interprets the response.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use tallies_names::is_printable;
use ureq::Agent;
use ureq::http::{HeaderValue, Method, Request, Response, header};

use crate::encode::{Cursor, Format, Options};
use crate::error::{self, Error};
use crate::snapshot::{MergedView, Source, labels};
use crate::sync::pushes;

/// The maximum length of a response that is read, in bytes.
const MAX_TEXT_BYTES: u64 = 4096;
/// The maximum length of the gateway's text in an error message, in characters.
const MAX_TEXT_CHARS: usize = 500;

/// A gateway to push to. It keeps connections and memory for the next push.
pub(super) struct Gateway {
    pub(super) agent: Agent,
    pub(super) timeout: Duration,
    pub(super) url: String,
    /// The names of the labels that identify the group: `job` and the grouping labels.
    pub(super) labels: Vec<String>,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) gzip: bool,
    pub(super) sources: Vec<Arc<dyn Source>>,
    /// The families of the last push. Kept for their memory.
    pub(super) merged: MergedView,
    /// The body, as text.
    pub(super) page: Vec<u8>,
    /// The body, compressed.
    pub(super) compressed: Vec<u8>,
}

impl Gateway {
    /// Takes and pushes a snapshot. The self-metrics count it as a push, even if it fails.
    pub(super) fn push(&mut self, method: &Method) -> Result<(), Error> {
        let pushed = self.push_page(method);
        pushes::record(pushed.is_ok());
        pushed
    }

    /// Deletes the group.
    pub(super) fn delete(&self) -> Result<(), Error> {
        // The Pushgateway's README: a DELETE request must not contain any content.
        self.send(self.request(&Method::DELETE), None)
    }

    fn push_page(&mut self, method: &Method) -> Result<(), Error> {
        let mut conflict = None;
        self.merged.take(&self.sources, |error| {
            conflict = conflict.take().or(Some(error))
        })?;
        conflict.map_or(Ok(()), Err)?;
        self.page.clear();
        self.reject_group_labels()?;
        // Text is the only format of the gateway that cannot carry what the gateway rejects: it has
        // no exemplars and, with these options, no timestamps.
        let (families, taken) = (self.merged.families(), self.merged.taken());
        let (begin, page) = (Cursor::default(), &mut self.page);
        Options::new().render_block(families, taken, Format::TEXT, begin, usize::MAX, page);
        let mut request = self
            .request(method)
            .header(header::CONTENT_TYPE, Format::TEXT.content_type());
        if self.gzip {
            request = request.header(header::CONTENT_ENCODING, "gzip");
            self.compress().map_err(|e| self.failed(method, e))?;
            return self.send(request, Some(&self.compressed));
        }
        self.send(request, Some(&self.page))
    }

    /// Compresses `page` into `compressed`.
    fn compress(&mut self) -> std::io::Result<()> {
        self.compressed.clear();
        let mut gzip = GzEncoder::new(std::mem::take(&mut self.compressed), Compression::fast());
        gzip.write_all(&self.page)?;
        self.compressed = gzip.finish()?;
        Ok(())
    }

    /// Returns an error if a series has a label of the group. The gateway would silently overwrite
    /// it and could merge two series into one.
    fn reject_group_labels(&self) -> Result<(), Error> {
        for family in self.merged.families() {
            let constant = [family.meta.constant.as_str()];
            for text in constant.into_iter().chain(family.texts.iter()) {
                let clash = labels::pairs(text).find(|(name, value)| {
                    !value.is_empty() && self.labels.iter().any(|label| label == name)
                });
                if let Some((label, value)) = clash {
                    return Err(Error::other(format_args!(
                        "family `{}` has the label `{label}=\"{}\"`, which the group sets as well, \
                         and the gateway would overwrite it; rename the label, or remove it from \
                         the group",
                        family.name(),
                        value.escape_debug()
                    )));
                }
            }
        }
        Ok(())
    }

    fn request(&self, method: &Method) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(&self.url);
        match &self.authorization {
            Some(value) => request.header(header::AUTHORIZATION, value),
            None => request,
        }
    }

    fn send(
        &self,
        request: ureq::http::request::Builder,
        body: Option<&[u8]>,
    ) -> Result<(), Error> {
        let method = request.method_ref().cloned().unwrap_or_default();
        let response = match body {
            Some(body) => request.body(body).map(|request| self.agent.run(request)),
            None => request.body(()).map(|request| self.agent.run(request)),
        };
        match response.unwrap_or_else(|e| Err(e.into())) {
            Ok(response) => self.check_response(&method, response),
            Err(ureq::Error::Timeout(_)) => Err(timeout_error(&self.url, &method, self.timeout)),
            Err(ureq::Error::Io(e)) => Err(self.failed(&method, e)),
            Err(ureq::Error::Http(e)) => Err(self.failed(&method, e)),
            Err(e) => Err(self.failed(&method, e)),
        }
    }

    /// Accepts any 2xx status. Any other status is an error that includes the gateway's text.
    fn check_response(&self, method: &Method, response: Response<ureq::Body>) -> Result<(), Error> {
        let status = response.status();
        if status.is_success() {
            // The body is not needed, but a connection can only be reused after its response was
            // read to the end.
            let mut rest = response.into_body().into_reader().take(MAX_TEXT_BYTES);
            let _ = std::io::copy(&mut rest, &mut std::io::sink());
            return Ok(());
        }
        let location = response.headers().get(header::LOCATION);
        let text = match location.filter(|_| status.is_redirection()) {
            // Following the redirect would lose the method.
            Some(to) => format!(
                "the gateway has moved; push to the address that `{}` leads to",
                one_line(&String::from_utf8_lossy(to.as_bytes()))
            ),
            None => {
                let mut text = Vec::new();
                let mut body = response.into_body().into_reader().take(MAX_TEXT_BYTES);
                // A partial text is good enough, because the status matters most.
                let _ = body.read_to_end(&mut text);
                one_line(&String::from_utf8_lossy(&text))
            }
        };
        let why = match &*text {
            "" => "no reason given",
            text => text,
        };
        Err(Error::other(format_args!(
            "{method} {}: {status}: {why}",
            self.url
        )))
    }

    fn failed(&self, method: &Method, cause: impl Into<error::Cause>) -> Error {
        Error::with_cause(format!("{method} {}", self.url), cause)
    }
}

/// Returns the error of a gateway that does not respond in time.
pub(super) fn timeout_error(url: &str, method: &Method, timeout: Duration) -> Error {
    error::ErrorKind::Io(std::io::ErrorKind::TimedOut).error(format_args!(
        "{method} {url}: no response within {timeout:?}"
    ))
}

/// Converts a text from the gateway to one line without control characters and of bounded length.
fn one_line(text: &str) -> String {
    text.trim()
        .chars()
        .map(|c| if is_printable(c) { c } else { ' ' })
        .take(MAX_TEXT_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::push::Pusher;

    /// Compression once replaced the page's buffer with its own.
    #[test]
    fn compressing_leaves_the_memory_of_both() {
        let mut gateway = Pusher::new("http://127.0.0.1:9", "j").gateway().unwrap();
        gateway.page = vec![b'x'; 10_000];
        let mut memory = Vec::new();
        for _ in 0..2 {
            gateway.compress().unwrap();
            assert!(gateway.compressed.starts_with(&[0x1F, 0x8B]));
            memory.push(
                [&gateway.page, &gateway.compressed].map(|part| (part.as_ptr(), part.capacity())),
            );
        }
        assert_eq!(memory[0], memory[1]);
    }
}
