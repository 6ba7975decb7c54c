//! One push: a snapshot, checked against the group's labels, as text to the gateway, and what that said.

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use ureq::Agent;
use ureq::http::{HeaderValue, Method, Request, Response, header};

use crate::encode::{Format, Options};
use crate::error::Error;
use crate::snapshot::{MergedView, Source, labels};
use crate::sync::pushes;

/// How much of what a gateway says is read, in bytes, and repeated, in characters.
const WORDS: (u64, usize) = (4096, 500);

/// A gateway that is pushed to, with what one push leaves for the next: connections and memory.
pub(super) struct Gateway {
    pub(super) agent: Agent,
    pub(super) timeout: Duration,
    pub(super) url: String,
    /// The labels that the group sets: `job` and the grouping labels.
    pub(super) labels: Vec<String>,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) gzip: bool,
    pub(super) sources: Vec<Arc<dyn Source>>,
    pub(super) found: MergedView,
    pub(super) page: Vec<u8>,
    /// The page, compressed.
    pub(super) packed: Vec<u8>,
}

impl Gateway {
    /// Pushes what there is now. Counts as a push, also where it fails.
    pub(super) fn push(&mut self, method: &Method) -> Result<(), Error> {
        let pushed = self.push_page(method);
        pushes::record(pushed.is_ok());
        pushed
    }

    /// Removes the group.
    pub(super) fn delete(&self) -> Result<(), Error> {
        // The README: the request must not contain any content.
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
        // Of the formats the gateway reads, this is the one that cannot carry what it refuses: neither exemplars nor,
        // as it is written here, timestamps.
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

    /// Compresses the page.
    fn pack(&mut self) -> std::io::Result<()> {
        self.packed.clear();
        let mut gzip = GzEncoder::new(std::mem::take(&mut self.packed), Compression::fast());
        gzip.write_all(&self.page)?;
        self.packed = gzip.finish()?;
        Ok(())
    }

    /// The gateway would overwrite them without a word, and take two series for one.
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

    /// Any 2xx is a success; anything else is an error with the gateway's words.
    fn judge(&self, method: &Method, answer: Response<ureq::Body>) -> Result<(), Error> {
        let status = answer.status();
        if status.is_success() {
            // The rest of the answer is not wanted, but a connection that was read to its end can be used again.
            let mut rest = answer.into_body().into_reader().take(WORDS.0);
            let _ = std::io::copy(&mut rest, &mut std::io::sink());
            return Ok(());
        }
        let location = answer.headers().get(header::LOCATION);
        let words = match location.filter(|_| status.is_redirection()) {
            // Following it would lose the method.
            Some(to) => format!(
                "it moved: push to the address that `{}` leads to",
                readable(&String::from_utf8_lossy(to.as_bytes()))
            ),
            None => {
                let mut words = Vec::new();
                // What can be had of it; the status says the most.
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

/// Whether a character stands for itself in a line: no control characters, line separators, marks of another direction, and
/// none without a width.
fn is_shown(c: char) -> bool {
    let hidden = matches!(
        c,
        '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}'
    );
    !c.is_control() && !hidden
}

/// Someone else's words as a part of one line: no control characters, of a bounded length.
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

    /// A page is compressed into memory that is used again: it took the place of the page's own.
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
