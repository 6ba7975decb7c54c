//! The cardinality report of a service: which families have how many series, and why.

use std::sync::Mutex;
use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, VARY};
use http::{Method, Request, StatusCode};

use crate::snapshot::Cardinality;
use crate::sync::lock;

use super::answer::{
    Answer, Answered, Pages, check_method, content, failed, joined, set, timed_out,
};
use super::body::Body;
use super::query;
use super::turns::{Common, Turns, blocking};

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
        check_method(request.method())?;
        let mut pairs = query::pairs(request.uri().query().unwrap_or_default());
        let format = pairs.find(|(key, _)| key == "format");
        let json = match format {
            Some((_, format)) => format == "json",
            None => joined(request.headers(), &ACCEPT).contains("application/json"),
        };
        let head = *request.method() == Method::HEAD;
        Ok(Self { head, json })
    }
}

/// The reports of a service. Those who ask while one is being made share the next one.
pub(super) struct Reports {
    /// One turn: that of the thread that makes a report.
    work: Turns,
    waiting: Common<Waiting>,
}

/// The requests that wait for a report have the last ones in common: the text, and the JSON, each
/// with the time at which the service began to make it.
#[derive(Default)]
struct Waiting([Mutex<Option<(Instant, Bytes)>>; 2]);

impl Default for Reports {
    fn default() -> Self {
        Self {
            work: Turns::new(1),
            waiting: Common::default(),
        }
    }
}

impl Pages {
    /// Returns the report. Making it may block, so it runs where pages are rendered, on one thread
    /// that is not one of theirs.
    pub(super) async fn report(self, request: ReportRequest) -> Answered {
        let text = match request.head {
            // Making a report only to tell its length would cost as much as to send it.
            true => Bytes::new(),
            false => self.shared_report(request.json).await?,
        };
        let content_type = match request.json {
            true => "application/json",
            false => "text/plain; charset=utf-8",
        };
        let mut answer = content(StatusCode::OK, content_type, Body::whole(text));
        set(&mut answer, VARY, "Accept");
        set(&mut answer, CACHE_CONTROL, "no-store");
        if request.head {
            answer.headers_mut().remove(CONTENT_LENGTH);
        }
        Ok(answer)
    }

    /// Returns a report that the service began to make after this call, or the response to send if
    /// there is none.
    async fn shared_report(self, json: bool) -> Result<Bytes, Answer> {
        let since = Instant::now();
        let waiting = self.reports.waiting.join();
        let turn = self.reports.work.take().await.ok_or_else(timed_out)?;
        let last = lock(&waiting.0[usize::from(json)]).clone();
        if let Some((_, text)) = last.filter(|(begun, _)| *begun >= since) {
            return Ok(text);
        }
        let scraper = self.scraper;
        let text = blocking(move |is_wanted| {
            let _turn = turn;
            let begun = Instant::now();
            let mut report = Cardinality::default();
            for source in scraper.sources.sources() {
                if !is_wanted() {
                    return None;
                }
                report.append(source.cardinality());
            }
            let text = match json {
                true => report.to_json(),
                false => report.to_string(),
            };
            let text = scraper.memory.share(text);
            *lock(&waiting.0[usize::from(json)]) = Some((begun, text.clone()));
            Some(text)
        });
        let text = text.await.ok().flatten();
        text.ok_or_else(|| failed("the report failed\n"))
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::Registry;
    use crate::snapshot::{Merged, Snapshot, Source};

    /// A source that counts its reports.
    struct Counted(Registry, Arc<AtomicUsize>);

    impl Source for Counted {
        fn snapshot_into(&self, snapshot: &mut Snapshot) {
            self.0.snapshot_into(snapshot);
        }

        fn cardinality(&self) -> Cardinality {
            self.1.fetch_add(1, Relaxed);
            self.0.cardinality()
        }
    }

    /// Each of 200 requests made a report of its own, those of clients that had gone, too, and
    /// HEAD.
    #[test]
    fn requests_share_a_report_and_nobody_makes_one_in_vain() {
        let registry = Registry::new();
        registry.counter("jobs_total", "").unwrap().inc();
        let made = Arc::new(AtomicUsize::new(0));
        let source = Counted(registry, Arc::clone(&made));
        let source = Merged::from_iter([Arc::new(source) as Arc<dyn Source>]);
        let pages = Pages::new(source, (1, usize::MAX), None);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.build().unwrap().block_on(async {
            let ask = |head, json| tokio::spawn(pages.clone().report(ReportRequest { head, json }));
            let permit = pages.reports.work.take().await.unwrap();
            let gone: Vec<_> = (0..100).map(|_| ask(false, false)).collect();
            let stay: Vec<_> = (0..100).map(|i| ask(false, i % 2 == 0)).collect();
            tokio::task::yield_now().await;
            for client in gone {
                client.abort();
                assert!(client.await.unwrap_err().is_cancelled());
            }
            let head = ask(true, false).await.unwrap().unwrap();
            assert_eq!(head.headers().get(CONTENT_LENGTH), None);
            assert_eq!(made.load(Relaxed), 0);
            drop(permit);
            for client in stay {
                assert_eq!(client.await.unwrap().unwrap().status(), StatusCode::OK);
            }
            assert_eq!(made.load(Relaxed), 2, "one as text, one as JSON");
            // Nobody waits, so the last one is gone, and a new one is made.
            ask(false, false).await.unwrap().unwrap();
            assert_eq!(made.load(Relaxed), 3);
        });
    }
}
