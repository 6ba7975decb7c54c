//! The cardinality report of a service: which families have how many series, and why.

use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, VARY};
use http::{HeaderValue, Request, StatusCode};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::snapshot::Cardinality;

use super::answer::{Answer, Pages, content, head, joined, plain, timed_out};
use super::body::Body;
use super::query;
use super::scrape::lock;
use super::turns::Common;

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
        let mut pairs = query::pairs(query);
        let format = pairs.find(|(key, _)| key == "format");
        let json = match format {
            Some((_, format)) => format == "json",
            None => joined(request.headers(), &ACCEPT).contains("application/json"),
        };
        Ok(Self { head, json })
    }
}

/// The reports of a service. Those who ask while one is being made share the next one.
pub(super) struct Reports {
    /// The permit of the thread that makes a report.
    work: Arc<Semaphore>,
    waiting: Common<Waiting>,
}

/// The requests that wait for a report have the last ones in common: the text, and the JSON.
#[derive(Default)]
struct Waiting([Mutex<Option<Report>>; 2]);

/// A report, and the time at which the service began to make it.
struct Report {
    begun: Instant,
    text: Bytes,
}

impl Default for Reports {
    fn default() -> Self {
        Self {
            work: Arc::new(Semaphore::new(1)),
            waiting: Common::default(),
        }
    }
}

impl Waiting {
    /// Returns the last report of this form if it has all that was there at `since`.
    fn report(&self, json: bool, since: Instant) -> Option<Bytes> {
        let last = lock(&self.0[usize::from(json)]);
        let current = last.as_ref().filter(|report| report.begun >= since);
        current.map(|report| report.text.clone())
    }
}

impl Pages {
    /// Returns the report. Making it may block, so it runs where pages are rendered, on one thread
    /// that is not one of theirs.
    pub(super) async fn report(self, request: ReportRequest) -> Answer {
        let text = if request.head {
            // Making a report only to tell its length would cost as much as to send it.
            Ok(Bytes::new())
        } else {
            self.shared_report(request.json).await
        };
        let text = match text {
            Ok(text) => text,
            Err(answer) => return answer,
        };
        let content_type = if request.json {
            "application/json"
        } else {
            "text/plain; charset=utf-8"
        };
        let mut answer = content(StatusCode::OK, content_type, Body::whole(text));
        let headers = answer.headers_mut();
        headers.insert(VARY, HeaderValue::from_static("Accept"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if request.head {
            headers.remove(CONTENT_LENGTH);
        }
        answer
    }

    /// Returns a report that the service began to make after this call, or the response to send if
    /// there is none.
    async fn shared_report(self, json: bool) -> Result<Bytes, Answer> {
        let since = Instant::now();
        let waiting = self.reports.waiting.join();
        let permit = Arc::clone(&self.reports.work).acquire_owned().await;
        let Ok(permit) = permit else {
            return Err(timed_out());
        };
        if let Some(text) = waiting.report(json, since) {
            return Ok(text);
        }
        let scraper = self.scraper;
        // The permit moves into the work. This future drops `client` when the request times out or
        // the client disconnects.
        let client = Arc::new(());
        let wanted = Arc::downgrade(&client);
        let work = move || {
            let _permit = permit;
            let begun = Instant::now();
            let mut report = Cardinality::default();
            for source in scraper.sources() {
                wanted.upgrade()?;
                report.append(source.cardinality());
            }
            let text = if json {
                report.to_json()
            } else {
                report.to_string()
            };
            let text = scraper.memory.share(text);
            *lock(&waiting.0[usize::from(json)]) = Some(Report {
                begun,
                text: text.clone(),
            });
            Some(text)
        };
        let text = match Handle::try_current() {
            Ok(runtime) => runtime.spawn_blocking(work).await,
            Err(_) => Ok(work()),
        };
        drop(client);
        let failed = || plain(StatusCode::INTERNAL_SERVER_ERROR, "the report failed\n");
        text.ok().flatten().ok_or_else(failed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::Registry;
    use crate::serve::page::Style;
    use crate::snapshot::{Snapshot, Source};

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
        let source = vec![Arc::new(source) as Arc<dyn Source>];
        let pages = Pages::new(source, Style::new(), (1, usize::MAX), None);
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.build().unwrap().block_on(async {
            let ask = |head, json| tokio::spawn(pages.clone().report(ReportRequest { head, json }));
            let permit = Arc::clone(&pages.reports.work)
                .acquire_owned()
                .await
                .unwrap();
            let gone: Vec<_> = (0..100).map(|_| ask(false, false)).collect();
            let stay: Vec<_> = (0..100).map(|i| ask(false, i % 2 == 0)).collect();
            tokio::task::yield_now().await;
            for client in gone {
                client.abort();
                assert!(client.await.unwrap_err().is_cancelled());
            }
            let head = ask(true, false).await.unwrap();
            assert_eq!(head.headers().get(CONTENT_LENGTH), None);
            assert_eq!(made.load(Relaxed), 0);
            drop(permit);
            for client in stay {
                assert_eq!(client.await.unwrap().status(), StatusCode::OK);
            }
            assert_eq!(made.load(Relaxed), 2, "one as text, one as JSON");
            // Nobody waits, so the last one is gone, and a new one is made.
            ask(false, false).await.unwrap();
            assert_eq!(made.load(Relaxed), 3);
        });
    }
}
