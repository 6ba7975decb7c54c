//! The client for a gateway. A push takes a snapshot, checks it against the group's labels, sends
//! it as text, and interprets the response.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use tallies_client::Client;

use crate::encode::{Cursor, Format, Options};
use crate::error::Error;
use crate::snapshot::{Merged, MergedSnapshot, labels};
use crate::sync::pushes;

use super::client_error;

/// The maximum length of a response that is read, in bytes.
const MAX_TEXT_BYTES: usize = 4096;

/// A gateway to push to. It keeps connections and memory for the next push.
pub(super) struct Gateway {
    pub(super) client: Client,
    /// The names of the labels that identify the group: `job` and the grouping labels.
    pub(super) labels: Vec<String>,
    pub(super) gzip: bool,
    pub(super) sources: Merged,
    /// The families of the last push. Kept for their memory.
    pub(super) merged: MergedSnapshot,
    /// The body, as text.
    pub(super) page: Vec<u8>,
    /// The body, compressed.
    pub(super) compressed: Vec<u8>,
}

impl Gateway {
    /// Takes and pushes a snapshot. The self-metrics count it as a push, even if it fails.
    pub(super) fn push(&mut self, method: &str) -> Result<(), Error> {
        let pushed = self.push_page(method);
        pushes::record(pushed.is_ok());
        pushed
    }

    fn push_page(&mut self, method: &str) -> Result<(), Error> {
        self.sources.take(&mut self.merged)?;
        self.page.clear();
        self.reject_group_labels()?;
        // Text is the only format of the gateway that cannot carry what the gateway rejects: it has
        // no exemplars and, with these options, no timestamps.
        let (families, taken) = (self.merged.families(), self.merged.taken());
        let (begin, page) = (Cursor::default(), &mut self.page);
        Options::new().render_block(families, taken, Format::TEXT, begin, usize::MAX, page);
        let content_type = ("content-type", Format::TEXT.content_type());
        if self.gzip {
            self.compress()
                .map_err(|e| Error::with_cause(format!("{method} {}", self.client.url()), e))?;
            let headers = [content_type, ("content-encoding", "gzip")];
            return self.send(method, &headers, Some(&self.compressed));
        }
        self.send(method, &[content_type], Some(&self.page))
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
            let constant = [&*family.meta.constant];
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

    /// Sends a request. A status other than 2xx is an error that includes the gateway's text.
    pub(super) fn send(
        &self,
        method: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Result<(), Error> {
        let response = self.client.send(method, headers, body, MAX_TEXT_BYTES);
        let response = response.map_err(client_error)?;
        match response.is_success() {
            true => Ok(()),
            false => Err(client_error(self.client.rejected(method, &response))),
        }
    }
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
