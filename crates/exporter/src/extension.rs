//! The pages and the work that an exporter adds to the metrics service.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};
use tallies::serve::{Admission, Extension, Later, PageSource, PageTime, Peer, Record};
use tallies::snapshot::Source;
use tokio::runtime::Handle;
use tokio::task::JoinSet;

use super::About;
use super::probe::{self, ProbeHandler};
use super::update::Updater;
use super::web::Web;

/// The time for updates and probes of a client that tells no timeout.
const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

/// The time for which the live page waits for an update.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) struct ExporterPages {
    pub(super) about: About,
    pub(super) updates: Vec<Arc<Updater>>,
    pub(super) probes: Vec<(String, ProbeHandler)>,
    /// Where handlers run.
    pub(super) runtime: Handle,
    pub(super) web: Option<Arc<Web>>,
    /// Whether there is a live page.
    pub(super) has_live: bool,
}

/// Returns the time for updates and probes: it leaves the rest for making and sending the page.
fn limit(time: PageTime) -> Duration {
    // The limit is nine tenths of the client's timeout.
    let part = time.limit * 8 / 9;
    match time.by_client {
        true => part,
        false => part.min(DEFAULT_LIMIT),
    }
}

impl Extension for ExporterPages {
    fn server_name(&self) -> HeaderValue {
        let name = format!("{}/{}", self.about.name, self.about.version);
        HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("exporter"))
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        self.web.as_ref().map_or_else(Vec::new, |web| web.headers())
    }

    fn home(&self, metrics: &str) -> Option<String> {
        let (name, version) = (escaped(&self.about.name), escaped(&self.about.version));
        let description = escaped(&self.about.description);
        let live = match self.has_live {
            true => "<p><a href='live'>Live</a></p>\n",
            false => "",
        };
        Some(format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>{name}</title>\
             </head>\n<body>\n<h1>{name}</h1>\n<p>{description}</p>\n<p>Version {version}</p>\n\
             <p><a href='.{metrics}'>Metrics</a></p>\n{live}</body>\n</html>\n"
        ))
    }

    fn unknown_host(&self) -> &'static str {
        "unknown host; `--web.allowed-host HOST` admits further ones\n"
    }

    fn admit(&self, headers: &HeaderMap, client: Peer) -> Admission {
        match &self.web {
            Some(web) => web.admit(headers, client),
            None => Admission::Admitted,
        }
    }

    fn before_page(&self, time: PageTime) -> Later<'_, ()> {
        let (limit, updates) = (limit(time), self.updates.iter().cloned());
        Box::pin(finish(updates.map(move |update| update.update(limit))))
    }

    fn before_moment(&self) -> Option<Later<'_, ()>> {
        let updates = self.updates.iter().cloned();
        let refreshed = updates.map(|update| update.refresh(DEFAULT_LIMIT, PATIENCE));
        Some(Box::pin(finish(refreshed)))
    }

    fn page(&self, path: &str, query: &str, time: PageTime) -> Option<Later<'_, PageSource>> {
        let (path, handler) = self.probes.iter().find(|(own, _)| own == path)?;
        let (query, limit) = (query.to_owned(), limit(time));
        Some(Box::pin(async move {
            let registry = probe::run(handler, &self.runtime, path, &query, limit).await?;
            Ok(Arc::new(registry) as Arc<dyn Source>)
        }))
    }

    fn record(&self, record: &Record<'_>) {
        log::debug!(
            method = record.method,
            path = record.path,
            remote = record.remote.map_or_else(|| "unix".to_owned(), |remote| remote.ip().to_canonical().to_string()).as_str(),
            status = record.status,
            size = record.size.unwrap_or_default(),
            duration = record.duration.as_secs_f64();
            "request"
        );
    }
}

/// Runs updates at the same time, to their end.
async fn finish(updates: impl Iterator<Item: Future<Output = ()> + Send + 'static>) {
    let mut running: JoinSet<()> = updates.collect();
    while running.join_next().await.is_some() {}
}

/// Escapes text for HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}
