//! Probes: pages that are made for one request, about the target that its query names.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use tallies::Registry;
use tokio::runtime::Handle;

/// A request for a probe: its query, and a fresh registry, whose metrics are the answer.
///
/// A clone is the same request.
#[derive(Clone, Debug)]
pub struct Probe {
    query: Vec<(String, String)>,
    registry: Registry,
    deadline: Instant,
}

/// An error of a probe that is the client's: the query lacks something. The answer is 400, with
/// this text.
#[derive(Debug)]
pub struct BadRequest(String);

impl BadRequest {
    /// Creates an error with this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl std::fmt::Display for BadRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadRequest {}

impl Probe {
    /// Returns the registry of this request.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns the value of a parameter of the query.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let pair = self.query.iter().find(|(own, _)| own == name);
        pair.map(|(_, value)| value.as_str())
    }

    /// Returns the parameter `target`.
    ///
    /// # Errors
    ///
    /// A query without it. The answer is then 400.
    pub fn target(&self) -> Result<&str, BadRequest> {
        match self.parameter("target") {
            Some(target) if !target.is_empty() => Ok(target),
            _ => Err(BadRequest::new("the query needs `target=…`\n")),
        }
    }

    /// Returns the time that is left for the probe.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

pub(super) type ProbeHandler =
    Arc<dyn Fn(Probe) -> Pin<Box<dyn Future<Output = super::Result> + Send>> + Send + Sync>;

/// Runs a probe and returns its registry, with `probe_success` and `probe_duration_seconds`, or a
/// status and a text.
pub(super) async fn run(
    handler: &ProbeHandler,
    runtime: &Handle,
    path: &str,
    query: &str,
    limit: Duration,
) -> Result<Registry, (StatusCode, String)> {
    let start = Instant::now();
    let registry = Registry::new();
    registry.set_lint(false);
    let pairs = form_urlencoded::parse(query.as_bytes());
    let probe = Probe {
        query: pairs.into_owned().collect(),
        registry: registry.clone(),
        deadline: start + limit,
    };
    // A task of its own, because the handler may panic, and not in the service's runtime, because
    // it may block. Dropping the set ends the handler with the request.
    let mut task = tokio::task::JoinSet::new();
    let handler = Arc::clone(handler);
    task.spawn_on(async move { handler(probe).await }, runtime);
    let ended = tokio::time::timeout(limit, task.join_next()).await;
    let failed = match ended {
        Ok(Some(Ok(Ok(())))) => None,
        Ok(Some(Ok(Err(error)))) => {
            if let Some(BadRequest(text)) = error.downcast_ref() {
                return Err((StatusCode::BAD_REQUEST, text.clone()));
            }
            Some(error.to_string())
        }
        Ok(_) => Some("the handler panicked".to_owned()),
        Err(_) => Some("it took too long".to_owned()),
    };
    if let Some(error) = &failed {
        // Not the query, which may have secrets.
        log::warn!(error = error.as_str(), path; "probe failed");
    }
    let set = |name, help, value: f64| {
        // A handler that registers this name itself knows better.
        if let Ok(gauge) = registry.gauge(name, help) {
            gauge.set(value);
        }
    };
    let took = start.elapsed().as_secs_f64();
    let success = f64::from(u8::from(failed.is_none()));
    set("probe_success", "Whether the probe succeeded.", success);
    set("probe_duration_seconds", "Time of the probe.", took);
    Ok(registry)
}
