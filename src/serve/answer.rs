//! The answer to a request for the page: the same from the service and in every framework.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER,
    VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::encode::{Format, Options};
use crate::snapshot::Source;

use super::coding::Coding;
use super::scrape::{Page, Refusal, Relief, Scraper, Wanted};

/// Pages being made at once; further requests wait. Few, as each may keep a processor busy.
pub(super) const SCRAPES: usize = 4;

/// Bytes of pages at once, those that are being read among them.
pub(super) const PAGES: usize = 128 << 20;

pub(super) type Answer = Response<Full<Bytes>>;

/// The page of some registries, over HTTP.
#[derive(Clone)]
pub(super) struct Pages {
    scraper: Arc<Scraper>,
    places: Arc<Semaphore>,
}

/// What a request wants of the page.
pub(super) struct Asked {
    pub(super) head: bool,
    wanted: Wanted,
}

impl Asked {
    /// What the request wants, or the answer to one that is no GET and no HEAD. Never an error: what cannot be read
    /// means the page as everybody gets it.
    pub(super) fn read<B>(request: &Request<B>) -> Result<Self, Answer> {
        let head = head(request.method())?;
        let all = |name: HeaderName| joined(request.headers(), &name);
        let names: Vec<_> =
            form_urlencoded::parse(request.uri().query().unwrap_or_default().as_bytes())
                .filter(|(key, _)| key == "name[]")
                .map(|(_, name)| name.into_owned())
                .collect();
        Ok(Self {
            head,
            wanted: Wanted {
                format: Format::negotiate(&all(ACCEPT)),
                coding: Coding::negotiate(&all(ACCEPT_ENCODING)),
                names: (!names.is_empty()).then_some(names),
            },
        })
    }
}

/// Whether a request wants the headers only, or the answer to one that is neither GET nor HEAD.
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

/// Several headers of one name are one, joined by commas.
fn joined(headers: &HeaderMap, name: &HeaderName) -> String {
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
        options: Options,
        (scrapes, pages): (usize, usize),
        relief: Option<Relief>,
    ) -> Self {
        Self {
            scraper: Arc::new(Scraper::new(sources, options, pages, relief)),
            places: Arc::new(Semaphore::new(scrapes)),
        }
    }

    /// The page that was asked for. Made where blocking is allowed: among the runtime's blocking threads, or right here
    /// where there is no runtime.
    pub(super) async fn answer(self, asked: Asked) -> Answer {
        let Ok(place) = self.places.acquire_owned().await else {
            return busy();
        };
        let (scraper, wanted) = (self.scraper, asked.wanted.clone());
        // The place goes where the work is: a collector that hangs takes no more threads than there are places.
        // Dropped with this future, when the client's time is up or the client has left: then the work need not begin.
        let waiting = Arc::new(());
        let waits = Arc::downgrade(&waiting);
        let work = move || {
            let page = scraper.page(&wanted, &|| waits.strong_count() > 0);
            drop(place);
            page
        };
        let page = match Handle::try_current() {
            Ok(runtime) => runtime.spawn_blocking(work).await,
            Err(_) => Ok(work()),
        };
        drop(waiting);
        let page = match page {
            Ok(Ok(page)) => page,
            Ok(Err(Refusal::Inside)) => {
                return plain(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    "a collector asked for the page that it is a part of\n",
                );
            }
            Ok(Err(Refusal::Full)) => return unavailable("readers hold too many pages\n"),
            Ok(Err(Refusal::Gone)) => return busy(),
            // A pass does not panic; if one does, the next scrape may fare better.
            Err(_) => return plain(StatusCode::INTERNAL_SERVER_ERROR, "the scrape failed\n"),
        };
        let content_type = asked.wanted.format.content_type();
        let body = Bytes::from_owner(Sent(page));
        let mut answer = content(StatusCode::OK, content_type, body);
        let headers = answer.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
        if asked.wanted.coding != Coding::Identity {
            let coding = HeaderValue::from_static(asked.wanted.coding.name());
            headers.insert(CONTENT_ENCODING, coding);
        }
        if asked.head {
            // The headers of GET, its length included, and no body.
            *answer.body_mut() = Full::default();
        }
        answer
    }
}

/// A page being sent.
struct Sent(Arc<Page>);

impl AsRef<[u8]> for Sent {
    fn as_ref(&self) -> &[u8] {
        (*self.0).as_ref()
    }
}

/// A page that was not made in time.
pub(super) fn busy() -> Answer {
    unavailable("the scrape took longer than its time\n")
}

fn unavailable(why: &'static str) -> Answer {
    let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, why);
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static("1"));
    answer
}

pub(super) fn plain(status: StatusCode, text: &'static str) -> Answer {
    content(
        status,
        "text/plain; charset=utf-8",
        Bytes::from_static(text.as_bytes()),
    )
}

pub(super) fn content(status: StatusCode, content_type: &'static str, body: Bytes) -> Answer {
    let length = HeaderValue::from(body.len());
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CONTENT_LENGTH, length);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}
