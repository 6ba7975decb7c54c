//! The live page: a page in the browser where the metrics move, and the stream of events behind it.
//!
//! - `moment` takes a snapshot each second, while a page is open. All pages share it.
//! - `choice` is what one page wants to see, and `frame` is that of one moment, as JSON.
//! - `failure` guesses which series tell of failures. They come first.
//! - `stream` sends a frame each second.
//! - `ring` has the last minutes, for pages that begin.
//! - `page.html`, `style.css` and the scripts are the page. It asks for nothing else, and its
//!   policy lets it.

mod choice;
mod failure;
mod frame;
mod moment;
mod ring;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, RETRY_AFTER};
use http::{HeaderName, Request, StatusCode};
use tokio::runtime::Handle;

use super::Extension;
use super::answer::{Answer, check_method, content, plain, set};
use super::body::Body;
use super::peer::Peer;
use super::places::{ClientPlace, ClientPlaces};
use super::scrape::Scraper;

use choice::Choice;
use moment::Hub;
pub(super) use stream::FrameStream;

/// The path of the page. Its files and its stream are below it.
pub(super) const PATH: &str = "/live";

/// Returns whether this is the path of the page, or may be that of a part of it.
pub(super) fn is_part(path: &str) -> bool {
    let rest = path.strip_prefix(PATH);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The most streams at once. A page has two for a moment, when it wants to see something else.
const STREAMS: usize = 64;

/// The streams of one peer if half of them are open.
const SHARE: usize = 8;

/// The content security policy: the page may fetch from this service. Nothing in it is inline.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
    require-trusted-types-for 'script'; trusted-types 'none'";

const CSS: &str = "text/css; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// The files of the page: their path below [`PATH`], their type and their content.
const FILES: [(&str, &str, &str); 9] = [
    ("", "text/html; charset=utf-8", include_str!("page.html")),
    ("/style.css", CSS, include_str!("style.css")),
    ("/page.js", JAVASCRIPT, include_str!("page.js")),
    ("/draw.js", JAVASCRIPT, include_str!("draw.js")),
    ("/data.js", JAVASCRIPT, include_str!("data.js")),
    ("/text.js", JAVASCRIPT, include_str!("text.js")),
    ("/card.js", JAVASCRIPT, include_str!("card.js")),
    ("/state.js", JAVASCRIPT, include_str!("state.js")),
    ("/icon.svg", "image/svg+xml", include_str!("icon.svg")),
];

/// Answers requests for the live page and its parts.
#[derive(Clone)]
pub(super) struct Live {
    hub: Arc<Hub>,
    /// One place for each stream that may be open.
    streams: Arc<ClientPlaces>,
    /// The maximum age of a stream.
    age: Duration,
}

impl Live {
    /// The page has the sources of `scraper`, whose memory counts the bytes of snapshots and
    /// frames. `extension` does its work before each snapshot.
    pub(super) fn new(
        scraper: &Scraper,
        extension: Option<Arc<dyn Extension>>,
        age: Duration,
    ) -> Self {
        let (sources, memory) = (scraper.sources.clone(), Arc::clone(&scraper.memory));
        Self {
            hub: Arc::new(Hub::new(sources, extension, memory)),
            streams: ClientPlaces::new(STREAMS, SHARE),
            age,
        }
    }

    /// Begins to remember the last minutes, if there is a runtime. Only the first call does.
    pub(super) fn remember(&self) {
        self.hub.remember();
    }

    /// Answers a request whose path has `rest` after [`PATH`]. Returns `None` if no part of the
    /// page has this path. The caller drops the body if the request is a HEAD request.
    pub(super) fn answer<B>(
        &self,
        rest: &str,
        request: &Request<B>,
        peer: Option<Peer>,
    ) -> Option<Answer> {
        let file = FILES.iter().find(|(path, ..)| *path == rest);
        if rest != "/stream" && file.is_none() {
            return None;
        }
        if let Err(answer) = check_method(request.method()) {
            return Some(answer);
        }
        let (caching, mut answer) = match file {
            Some((_, content_type, text)) => {
                let text = Body::whole(Bytes::from_static(text.as_bytes()));
                ("no-cache", content(StatusCode::OK, content_type, text))
            }
            None => ("no-store", self.stream(request, peer)),
        };
        set(&mut answer, CONTENT_SECURITY_POLICY, POLICY);
        set(&mut answer, CACHE_CONTROL, caching);
        set(&mut answer, REFERRER_POLICY, "no-referrer");
        for name in ["cross-origin-resource-policy", "cross-origin-opener-policy"] {
            set(&mut answer, HeaderName::from_static(name), "same-origin");
        }
        Some(answer)
    }

    /// Begins a stream.
    fn stream<B>(&self, request: &Request<B>, peer: Option<Peer>) -> Answer {
        // A page of another site could not read the stream, but it could keep it open.
        let from = request.headers().get("sec-fetch-site");
        if from.is_some_and(|from| from == "cross-site") {
            return plain(StatusCode::FORBIDDEN, "only its own page has the stream\n");
        }
        if Handle::try_current().is_err() {
            let answer = "the live page needs a Tokio runtime\n";
            return plain(StatusCode::NOT_IMPLEMENTED, answer);
        }
        let Some(place) = self.streams.take(peer) else {
            let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open\n");
            set(&mut answer, RETRY_AFTER, "5");
            return answer;
        };
        let choice = Choice::read(request.uri().query().unwrap_or_default());
        let stream = FrameStream::new(Arc::clone(&self.hub), choice, self.age, place);
        content(StatusCode::OK, "text/event-stream", Body::stream(stream))
    }
}
