//! The response to a request for the metrics page. The service and every framework share it.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    RETRY_AFTER, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use tokio::runtime::Handle;

use crate::snapshot::Source;

use super::body::Body;
use super::coding::Coding;
use super::page::Style;
use super::query;
use super::report::Reports;
use super::scrape::{EvictReader, Refusal, Scraper, Selection};
use super::turns::Turns;

/// Default limit of pages rendered at once. It is small, because each page may keep a processor
/// busy.
pub(super) const SCRAPES: usize = 4;

/// Default limit of the bytes of scrapes and blocks that clients are reading.
pub(super) const PAGES: usize = 128 << 20;

pub(super) type Answer = Response<Body>;

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

/// The parts of a request that choose the page.
pub(super) struct PageRequest {
    /// Whether the request is a HEAD request.
    pub(super) head: bool,
    pub(super) selection: Selection,
}

impl PageRequest {
    /// Reads a request for the page. Returns the response to send if the method is neither GET nor
    /// HEAD. Unreadable headers and query parameters are never an error: the client gets the
    /// default page.
    pub(super) fn read<B>(request: &Request<B>, style: Style) -> Result<Self, Answer> {
        let head = head(request.method())?;
        let all = |name: HeaderName| joined(request.headers(), &name);
        let names: Vec<_> = query::pairs(request.uri().query().unwrap_or_default())
            .filter(|(key, _)| key == "name[]")
            .map(|(_, name)| name)
            .collect();
        Ok(Self {
            head,
            selection: Selection {
                format: style.format(&all(ACCEPT)),
                coding: Coding::negotiate(&all(ACCEPT_ENCODING)),
                names: (!names.is_empty()).then_some(names),
            },
        })
    }
}

/// Returns whether the method is HEAD. Returns the response to send if it is neither GET nor HEAD.
pub(super) fn head(method: &Method) -> Result<bool, Answer> {
    if *method == Method::GET || *method == Method::HEAD {
        return Ok(*method == Method::HEAD);
    }
    let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "method not allowed\n");
    answer
        .headers_mut()
        .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    Err(answer)
}

/// Joins all headers of one name with commas, as RFC 9110, section 5.3, allows.
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
    let mut all = String::new();
    for value in headers.get_all(name) {
        if !all.is_empty() {
            all.push(',');
        }
        all.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    all
}

impl Pages {
    pub(super) fn new(
        sources: Vec<Arc<dyn Source>>,
        style: Style,
        (scrapes, pages): (usize, usize),
        evict_reader: Option<EvictReader>,
    ) -> Self {
        Self {
            scraper: Arc::new(Scraper::new(sources, style, pages, evict_reader)),
            turns: Turns::new(scrapes),
            reports: Arc::default(),
        }
    }

    /// Returns the requested page, whose first block is made. Rendering may block, so it runs on
    /// the runtime's blocking threads, or on the current thread if there is no runtime. Calls
    /// `begin` at the turn of the request.
    pub(super) async fn answer(self, request: PageRequest, begin: impl FnOnce()) -> Answer {
        let arrived = self.scraper.arrive();
        let Some(turn) = self.turns.take().await else {
            return timed_out();
        };
        begin();
        let (scraper, selection) = (self.scraper, request.selection.clone());
        // The turn moves into the blocking work. Collectors that hang therefore occupy no more
        // threads than there are turns.
        //
        // This future drops `waiting` when the request times out or the client disconnects. Work
        // that has not begun by then is skipped.
        let waiting = Arc::new(());
        let waiter = Arc::downgrade(&waiting);
        let work = move || {
            let page = scraper.page(arrived, &selection, &|| waiter.strong_count() > 0);
            drop(turn);
            page
        };
        let page = match Handle::try_current() {
            Ok(runtime) => runtime.spawn_blocking(work).await,
            Err(_) => Ok(work()),
        };
        drop(waiting);
        let (page, first) = match page {
            Ok(Ok(page)) => page,
            Ok(Err(Refusal::Reentrant)) => {
                return plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "a collector requested the page that runs it\n",
                );
            }
            Ok(Err(Refusal::Full)) => return unavailable("slow readers hold too many pages\n"),
            Ok(Err(Refusal::Gone)) => return timed_out(),
            Ok(Err(Refusal::Unavailable(why))) => return unavailable(String::from(&*why)),
            // A pass should not panic. If one does, the next scrape may succeed.
            Ok(Err(Refusal::Failed)) | Err(_) => {
                return plain(StatusCode::INTERNAL_SERVER_ERROR, "the scrape failed\n");
            }
        };
        let content_type = request.selection.format.content_type();
        let body = Body::page(page, first, self.turns);
        let mut answer = content(StatusCode::OK, content_type, body);
        let headers = answer.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if request.selection.coding != Coding::Identity {
            let coding = HeaderValue::from_static(request.selection.coding.name());
            headers.insert(CONTENT_ENCODING, coding);
        }
        if request.head {
            // A HEAD response has the headers of GET, including its length, and no body.
            *answer.body_mut() = Body::default();
        }
        answer
    }
}

/// Returns the response for a page that was not rendered in time.
pub(super) fn timed_out() -> Answer {
    unavailable("the scrape timed out\n")
}

pub(super) fn unavailable(why: impl Into<Bytes>) -> Answer {
    let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, why);
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

pub(super) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    content(
        status,
        "text/plain; charset=utf-8",
        Body::whole(text.into()),
    )
}

/// Returns a response. Its length is known unless it is a page of several blocks.
pub(super) fn content(status: StatusCode, content_type: &'static str, body: Body) -> Answer {
    let length = body.len();
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Some(length) = length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
