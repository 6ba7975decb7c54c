//! The cardinality report of a service: which families have how many series, and why.

use std::sync::Arc;

use http::header::{ACCEPT, CACHE_CONTROL, VARY};
use http::{HeaderValue, Request, StatusCode};
use tokio::runtime::Handle;

use crate::snapshot::Cardinality;

use super::answer::{Answer, Pages, content, head, joined, plain, timed_out};
use super::body::Body;

/// The path of the report.
pub(in crate::serve) const CARDINALITY: &str = "/-/cardinality";

/// The parts of a request that choose the form of the report.
pub(super) struct ReportRequest {
    head: bool,
    json: bool,
}

impl ReportRequest {
    /// Reads a request for the report. `format=json` or `format=text` in the query wins over
    /// `Accept`. Returns the response to send if the method is neither GET nor HEAD.
    pub(super) fn read<B>(request: &Request<B>) -> Result<Self, Answer> {
        let head = head(request.method())?;
        let query = request.uri().query().unwrap_or_default();
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let format = pairs.find(|(key, _)| key == "format");
        let json = match format {
            Some((_, format)) => format == "json",
            None => joined(request.headers(), &ACCEPT).contains("application/json"),
        };
        Ok(Self { head, json })
    }
}

impl Pages {
    /// Returns the report. Making it may block, so it runs where pages are rendered, and needs one of
    /// their permits.
    pub(super) async fn report(self, request: ReportRequest) -> Answer {
        let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else {
            return timed_out();
        };
        let scraper = self.scraper;
        let work = move || {
            let mut report = Cardinality::default();
            let sources = scraper.sources().iter();
            sources.for_each(|source| report.append(source.cardinality()));
            drop(permit);
            if request.json {
                report.to_json()
            } else {
                report.to_string()
            }
        };
        let text = match Handle::try_current() {
            Ok(runtime) => runtime.spawn_blocking(work).await,
            Err(_) => Ok(work()),
        };
        let Ok(text) = text else {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "the report failed\n");
        };
        let content_type = if request.json {
            "application/json"
        } else {
            "text/plain; charset=utf-8"
        };
        let mut answer = content(StatusCode::OK, content_type, Body::whole(text.into()));
        let headers = answer.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if request.head {
            *answer.body_mut() = Body::default();
        }
        answer
    }
}
