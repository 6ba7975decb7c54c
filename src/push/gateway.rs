//! The client for a gateway. A push takes a snapshot, checks it against the group's labels, sends
//! it as text, and interprets the response.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use ureq::Agent;
use ureq::http::{HeaderValue, Method, Request, Response, header};

use crate::encode::{Format, Options};
use crate::error::Error;
use crate::snapshot::{Gathered, Source, labels};
use crate::sync::pushes;

/// The part of an error response to use: bytes to read, and characters to show.
const WORDS: (u64, usize) = (4096, 500);

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
    pub(super) found: Gathered,
    /// The body, as text.
    pub(super) page: Vec<u8>,
    /// The body, compressed.
    pub(super) packed: Vec<u8>,
}

impl Gateway {
    /// Takes and pushes a snapshot. The self-metrics count it as a push, even if it fails.
    pub(super) fn push(&mut self, method: &Method) -> Result<(), Error> {
        let pushed = self.push_page(method);
        pushes::count(pushed.is_ok());
        pushed
    }

    /// Deletes the group.
    pub(super) fn delete(&self) -> Result<(), Error> {
        // The Pushgateway's README: a DELETE request must not contain any content.
        self.send(self.request(&Method::DELETE), None)
    }

    fn push_page(&mut self, method: &Method) -> Result<(), Error> {
        let mut misfit = None;
        self.found.take(&self.sources, |error| {
            misfit = misfit.take().or(Some(error))
        });
        if let Some(error) = misfit {
            return Err(error);
        }
        self.page.clear();
        self.refuse_labels_of_the_group()?;
        // Text is the only format of the gateway that cannot carry what the gateway rejects: it has
        // no exemplars and, with these options, no timestamps.
        let (families, taken) = (self.found.families(), self.found.taken());
        Options::new().render_families(families, taken, Format::TEXT, &mut self.page);
        let mut request = self
            .request(method)
            .header(header::CONTENT_TYPE, Format::TEXT.content_type());
        if self.gzip {
            request = request.header(header::CONTENT_ENCODING, "gzip");
            self.pack().map_err(|e| self.failed(method, e))?;
            return self.send(request, Some(&self.packed));
        }
        self.send(request, Some(&self.page))
    }

    /// Compresses `page` into `packed`.
    fn pack(&mut self) -> std::io::Result<()> {
        self.packed.clear();
        let mut gzip = GzEncoder::new(std::mem::take(&mut self.packed), Compression::fast());
        gzip.write_all(&self.page)?;
        self.packed = gzip.finish()?;
        Ok(())
    }

    /// Returns an error if a series has a label of the group. The gateway would silently overwrite
    /// it and could merge two series into one.
    fn refuse_labels_of_the_group(&self) -> Result<(), Error> {
        for family in self.found.families() {
            let constant = [family.meta.constant.as_str()];
            let own = (0..family.texts.len()).map(|i| family.texts.get(i));
            for text in constant.into_iter().chain(own) {
                let taken = labels::pairs(text).find(|(name, value)| {
                    !value.is_empty() && self.labels.iter().any(|label| label == name)
                });
                if let Some((label, value)) = taken {
                    return Err(Error::pushed_label(family.name(), label, &value));
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
        let answer = match body {
            Some(body) => request.body(body).map(|request| self.agent.run(request)),
            None => request.body(()).map(|request| self.agent.run(request)),
        };
        match answer {
            Ok(Ok(answer)) => self.judge(&method, answer),
            Ok(Err(ureq::Error::Timeout(_))) => Err(self.no_answer(&method)),
            Ok(Err(ureq::Error::Io(e))) => Err(self.failed(&method, e)),
            Ok(Err(e)) => Err(self.failed(&method, e)),
            Err(e) => Err(self.failed(&method, e)),
        }
    }

    /// Accepts any 2xx status. Any other status is an error that includes the gateway's text.
    fn judge(&self, method: &Method, answer: Response<ureq::Body>) -> Result<(), Error> {
        let status = answer.status();
        if status.is_success() {
            // The body is not needed, but a connection can only be reused after its response was
            // read to the end.
            let mut rest = answer.into_body().into_reader().take(WORDS.0);
            let _ = std::io::copy(&mut rest, &mut std::io::sink());
            return Ok(());
        }
        let location = answer.headers().get(header::LOCATION);
        let words = match location.filter(|_| status.is_redirection()) {
            // Following the redirect would lose the method.
            Some(to) => format!(
                "it moved: push to the address that `{}` leads to",
                readable(&String::from_utf8_lossy(to.as_bytes()))
            ),
            None => {
                let mut words = Vec::new();
                // A partial text is good enough, because the status matters most.
                let _ = answer
                    .into_body()
                    .into_reader()
                    .take(WORDS.0)
                    .read_to_end(&mut words);
                readable(&String::from_utf8_lossy(&words))
            }
        };
        Err(Error::push_refused(
            method.as_str(),
            &self.url,
            &status.to_string(),
            &words,
        ))
    }

    pub(super) fn no_answer(&self, method: &Method) -> Error {
        let why = format!("no answer within {:?}", self.timeout);
        Error::push_failed(method.as_str(), &self.url, why)
    }

    fn failed(
        &self,
        method: &Method,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        Error::push_failed(method.as_str(), &self.url, source)
    }
}

/// Returns whether a character is safe to show in one line of a log. Control characters, line
/// separators, direction marks and characters without width are not.
fn is_shown(c: char) -> bool {
    let hidden = matches!(
        c,
        '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
    );
    !c.is_control() && !hidden
}

/// Converts a text from the gateway to one line without control characters and of bounded length.
fn readable(words: &str) -> String {
    words
        .trim()
        .chars()
        .map(|c| if is_shown(c) { c } else { ' ' })
        .take(WORDS.1)
        .collect()
}

#[cfg(test)]
mod tests {
    use crate::Pusher;

    /// Compression once replaced the page's buffer with its own.
    #[test]
    fn compressing_leaves_the_memory_of_both() {
        let mut gateway = Pusher::new("http://127.0.0.1:9", "j").gateway().unwrap();
        gateway.page = vec![b'x'; 10_000];
        let mut memory = Vec::new();
        for _ in 0..2 {
            gateway.pack().unwrap();
            assert!(gateway.packed.starts_with(&[0x1F, 0x8B]));
            memory.push(
                [&gateway.page, &gateway.packed].map(|part| (part.as_ptr(), part.capacity())),
            );
        }
        assert_eq!(memory[0], memory[1]);
    }
}
