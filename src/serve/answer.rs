//! The response to a request for the metrics page. The service and every framework share it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};

use crate::snapshot::Merged;

use super::body::Body;
use super::coding::Coding;
use super::page::{Look, Style};
use super::peer::Peer;
use super::query;
use super::report::Reports;
use super::scrape::{EvictReader, Scraper, Selection};
use super::turns::{Turns, blocking};

/// Default limit of pages rendered at once. It is small, because each page may keep a processor
/// busy.
pub(super) const SCRAPES: usize = 4;

/// Default limit of the bytes of scrapes and blocks that clients are reading.
pub(super) const PAGES: usize = 128 << 20;

pub(super) type Answer = Response<Body>;

/// A response, or the one to send in its place. Both are sent in the same way.
pub(super) type Answered = Result<Answer, Answer>;

/// Renders the pages of some registries as HTTP responses.
#[derive(Clone)]
pub(super) struct Pages {
    /// Runs the passes and renders the pages. Shared by all requests.
    pub(super) scraper: Arc<Scraper>,
    /// One turn for each page that may be rendered at once. Each request takes one, and later each
    /// block of its page.
    pub(super) turns: Turns,
    /// The reports that are being made.
    pub(super) reports: Arc<Reports>,
}

/// Reads a request for the page. Returns the response to send if the method is neither GET nor
/// HEAD. Unreadable headers and query parameters are never an error: the client gets the default
/// page.
pub(super) fn selection<B>(request: &Request<B>, style: Style) -> Result<Selection, Answer> {
    check_method(request.method())?;
    let all = |name: HeaderName| joined(request.headers(), &name);
    let names = query::pairs(request.uri().query().unwrap_or_default());
    let names = names.filter_map(|(key, name)| (key == "name[]").then_some(name));
    let look = Look {
        style,
        format: style.format(&all(ACCEPT)),
        coding: Coding::negotiate(&all(ACCEPT_ENCODING)),
    };
    let names = names.collect();
    Ok(Selection { look, names })
}

/// Returns the response to send if the method is neither GET nor HEAD.
pub(super) fn check_method(method: &Method) -> Result<(), Answer> {
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(());
    }
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    set(&mut answer, ALLOW, "GET, HEAD");
    Err(answer)
}

/// Joins all headers of one name with commas, as RFC 9110, section 5.3, allows.
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let all = headers.get_all(name).iter();
    let texts = all.map(|value| String::from_utf8_lossy(value.as_bytes()));
    texts.collect::<Vec<_>>().join(",")
}

impl Pages {
    pub(super) fn new(
        sources: Merged,
        (scrapes, pages): (usize, usize),
        evict_reader: Option<EvictReader>,
    ) -> Self {
        Self {
            scraper: Arc::new(Scraper::new(sources, pages, evict_reader)),
            turns: Turns::new(scrapes),
            reports: Arc::default(),
        }
    }

    /// Returns these pages for the turns of this peer.
    pub(super) fn of(&self, peer: Option<Peer>) -> Self {
        let mut pages = self.clone();
        pages.turns = self.turns.of(peer);
        pages
    }

    /// Returns the requested page, whose first block is made. Calls `begin` at the turn of the
    /// request.
    pub(super) async fn answer(self, selection: Selection, begin: impl FnOnce()) -> Answered {
        let arrived = self.scraper.arrive();
        let turn = self.turns.take().await.ok_or_else(timed_out)?;
        begin();
        let (scraper, look) = (self.scraper, selection.look);
        // The turn moves into the blocking work. Collectors that hang therefore occupy no more
        // threads than there are turns. Work that has not begun when the request times out is
        // skipped.
        let page = blocking(move |is_wanted| {
            let page = scraper.page(arrived, &selection, is_wanted);
            drop(turn);
            page
        });
        let (page, first) = page.await.unwrap_or_else(|_| Err(scrape_failed()))?;
        let body = Body::page(page, first, self.turns);
        let mut answer = content(StatusCode::OK, look.format.content_type(), body);
        set(&mut answer, VARY, "Accept, Accept-Encoding");
        set(&mut answer, CACHE_CONTROL, "no-store");
        if look.coding != Coding::Identity {
            set(&mut answer, CONTENT_ENCODING, look.coding.name());
        }
        Ok(answer)
    }
}

/// Drops the body of a response to a HEAD request, which has the headers of GET, its length
/// included.
pub(super) fn drop_body(answer: &mut Answer, method: &Method) {
    if *method == Method::HEAD {
        *answer.body_mut() = Body::default();
    }
}

/// Sets a header of a response.
pub(super) fn set(answer: &mut Answer, name: HeaderName, value: &'static str) {
    let value = HeaderValue::from_static(value);
    answer.headers_mut().insert(name, value);
}

/// Returns the response for a page that was not rendered in time.
pub(super) fn timed_out() -> Answer {
    unavailable("the scrape timed out\n")
}

/// Returns the response for a page whose compressor got no memory, or whose pass panicked. The next
/// scrape may succeed.
pub(super) fn scrape_failed() -> Answer {
    failed("the scrape failed\n")
}

pub(super) fn failed(why: &'static str) -> Answer {
    plain(StatusCode::INTERNAL_SERVER_ERROR, why)
}

pub(super) fn unavailable(why: impl Into<Bytes>) -> Answer {
    let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, why);
    set(&mut answer, RETRY_AFTER, "1");
    answer
}

pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let body = Body::whole(text.into());
    content(status, "text/plain; charset=utf-8", body)
}

/// Returns a response. Its length is known unless it is a page of several blocks.
pub(super) fn content(status: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let length = body.len();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    set(&mut answer, CONTENT_TYPE, content_type);
    if let Some(length) = length {
        let length = HeaderValue::from(length);
        answer.headers_mut().insert(CONTENT_LENGTH, length);
    }
    set(&mut answer, X_CONTENT_TYPE_OPTIONS, "nosniff");
    answer
}
