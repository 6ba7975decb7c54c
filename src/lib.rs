// In the documentation, the links of the README lead to the pages in `docs`: of two definitions of
// a link, Markdown takes the first.
#![cfg_attr(all(doc, not(doctest), not(loom)), doc = include_str!("links.md"))]
#![doc = include_str!("../README.md")]
//!
//! # Index
//!
//! Declare metrics:
//!
//! - metric types: [`Counter`], [`UpDownCounter`], [`Gauge`], [`Histogram`], [`Summary`], [`Info`],
//!   [`StateSet`]
//! - in a `static`: [`metric`](macro@metric), [`register_all!`]; in a struct:
//!   [`Metrics`](macro@Metrics); at run time: [`registry()`], [`Registry`], [`Builder`]
//! - several metrics of one event, for one look-up: [`event`]
//! - change them without their code: [`View`], [`Registry::add_view`]
//! - from data, such as a file: the crate `tallies-config`
//! - in a library, at no cost for programs that do not count: [metrics in a library][libraries]
//! - bucket bounds: [`buckets`]; values that are read at scrape time: [`collect`]
//!
//! Labels:
//!
//! - label sets with a type: [`Labels`](macro@Labels), [`LabelValue`](macro@LabelValue); without:
//!   [`label`]
//! - one series of a metric: [`Series`], [`Bound`]
//!
//! Time and count code:
//!
//! - attributes: [`timed`](macro@timed), [`count`](macro@count),
//!   [`count_errors`](macro@count_errors), [`in_progress`](macro@in_progress)
//! - timers, guards, futures, results: [`instrument`]; exemplars with trace ids:
//!   [`instrument::trace_ids`]
//! - HTTP servers and clients: the crate `tallies-http`; process, allocator, tokio runtime:
//!   [`process`]; programs that use the `metrics` crate: the crate `tallies-metrics`
//!
//! Serve, push, read:
//!
//! - scrapes: [`serve()`], [`serve::Server`], [`serve::MetricsService`], [`render()`]
//! - programs that only export: the crate `tallies-exporter`; metrics from files: `tallies-config`
//! - one page for several processes: `share` (feature `mmap`); over a network: `tallies-redis`
//! - Pushgateway: [`push::Pusher`]; exposition pages of other programs: the crate `tallies-check`
//!
//! Testing and reading values:
//!
//! - what a test added: [`testing`]; a registry for each test: [`Registry::new`]
//! - [`snapshot()`], [`snapshot::Snapshot`]
//! - what a program declares, and dashboards checked against it: [`catalogue()`],
//!   [`snapshot::catalogue`]; where all the series come from: [`Registry::cardinality`]
//! - errors: [`Error`]
//!
//! Formats: [`encode`], [`encode::Format`], [`encode::Options`]
//!
//! Tuning: [`instrument::limit_summaries`], [`instrument::limit_cells`], [`instrument::warm`],
//! [`instrument::calibrate`], [`Builder::hot`], [`Builder::limit`], [`Counter::expire_after`]
//!
//! The design: [architecture].

#![cfg_attr(
    docsrs,
    feature(doc_cfg),
    doc(auto_cfg(hide(loom, mapped, feature = "enabled")))
)]
// The index has links to items of all features.
#![cfg_attr(
    not(all(
        feature = "live",
        feature = "mmap",
        feature = "process",
        feature = "push",
        feature = "tls"
    )),
    allow(rustdoc::broken_intra_doc_links)
)]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

#[cfg(all(feature = "enabled", not(loom)))]
mod clock;
#[cfg(all(feature = "enabled", not(loom)))]
mod declare;
#[cfg(all(feature = "enabled", not(loom)))]
pub mod encode;
#[cfg(feature = "enabled")]
#[cfg_attr(loom, allow(dead_code, reason = "models drive `observe` only"))]
mod error;
#[cfg(all(feature = "enabled", not(loom)))]
mod family;
#[cfg(not(loom))]
#[cfg_attr(
    not(feature = "enabled"),
    allow(dead_code, reason = "the engine reads values")
)]
mod in_both;
#[cfg(all(feature = "enabled", not(loom)))]
pub mod instrument;
#[cfg(feature = "enabled")]
#[cfg_attr(loom, allow(dead_code, reason = "models drive `observe` only"))]
#[allow(
    unreachable_pub,
    reason = "a private module whose types stand in the signatures of public ones"
)]
mod lockfree;
#[cfg(feature = "enabled")]
mod mapped;
#[cfg(feature = "enabled")]
#[cfg_attr(
    not(mapped),
    allow(dead_code, reason = "without mapped files, nothing moves to one")
)]
#[allow(
    unreachable_pub,
    reason = "a private module whose types stand in the signatures of public ones"
)]
mod observe;
// The crate has no reader of its own, and `tallies_check` has other types than a unit test. The
// published archive has neither, so `build.rs` looks for it.
#[cfg(all(test, reader, feature = "enabled", not(loom)))]
#[allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "a part of another crate"
)]
#[path = "../crates/check/src/pages/mod.rs"]
mod pages;
#[cfg(all(test, reader, feature = "enabled", not(loom)))]
extern crate self as tallies;
#[cfg(not(feature = "enabled"))]
mod off;
#[cfg(all(feature = "enabled", not(loom)))]
pub mod process;
#[cfg(all(feature = "push", not(loom)))]
pub mod push;
#[cfg(all(feature = "enabled", not(loom)))]
mod registry;
#[cfg(all(feature = "page", not(loom)))]
pub mod serve;
#[cfg_attr(loom, allow(dead_code, reason = "models drive `observe` only"))]
#[cfg(all(feature = "enabled", not(loom)))]
pub mod share;
#[cfg(feature = "enabled")]
pub mod snapshot;
#[cfg(feature = "enabled")]
mod sync;
#[cfg(all(feature = "enabled", not(loom)))]
pub mod testing;

#[cfg(all(feature = "enabled", not(loom)))]
pub use declare::macros::{LabelValue, Labels, Metrics, metric};
#[cfg(all(feature = "enabled", not(loom)))]
pub use declare::{
    Bound, Builder, Counter, Gauge, Histogram, Info, Metric, Series, StateSet, Summary,
    UpDownCounter,
};
#[cfg(feature = "enabled")]
pub use error::Error;
#[cfg(all(feature = "enabled", not(loom)))]
pub use family::label::LabelValue;
#[cfg(not(loom))]
pub use in_both::gauge_value::GaugeValue;
#[cfg(all(feature = "enabled", not(loom)))]
#[doc(inline)]
pub use instrument::attributes::{count, count_errors, in_progress, timed};
#[cfg(all(feature = "enabled", not(loom)))]
pub use observe::Number;
#[cfg(not(feature = "enabled"))]
pub use off::*;
#[cfg(all(feature = "enabled", not(loom)))]
pub use registry::{AddedViews, Description, Registry, View, registry};

/// Bucket bounds, and the values of a histogram.
#[cfg(all(feature = "enabled", not(loom)))]
pub mod buckets {
    pub use crate::declare::buckets::{
        DEFAULT, exponential, exponential_array, linear, linear_array,
    };
    pub use crate::observe::Observed;
}

/// Values that are read at scrape time.
#[cfg(all(feature = "enabled", not(loom)))]
pub mod collect {
    pub use crate::in_both::collect::Collect;
    pub use crate::registry::Collected;
}

/// Events: several metrics that count together, under one label set. See
/// [`Events`](event::Events).
#[cfg(all(feature = "enabled", not(loom)))]
pub mod event {
    pub use crate::declare::event::{Event, EventValue, Events, Recorded};
    pub use crate::declare::macros::Event;
    pub use crate::family::event::EventMetric;
}

/// Label sets and their names.
#[cfg(all(feature = "enabled", not(loom)))]
pub mod label {
    pub use crate::family::desc::{DEFAULT_LIMIT, values_in_order};
    pub use crate::family::label::{
        AnyLabels, DynLabels, LabelNames, LabelSet, NamedLabels, Scratch, Unlabelled,
    };
}

/// Returns the catalogue of the default registry: every family that the program declares, with or
/// without series. See [`Catalogue`](snapshot::catalogue::Catalogue).
///
/// ```
/// use tallies::{Counter, LabelValue, Labels};
///
/// #[derive(LabelValue)]
/// enum Method {
///     Get,
///     Put,
/// }
///
/// #[derive(Labels)]
/// struct Request {
///     method: Method,
/// }
///
/// /// Requests answered.
/// #[tallies::metric]
/// static REQUESTS: Counter<Request> = Counter::new("requests_total");
///
/// let catalogue = tallies::catalogue();
/// assert_eq!(catalogue.get("requests_total").unwrap().labels[0].values, ["get", "put"]);
/// # let _ = (&REQUESTS, Method::Get, Method::Put);
/// ```
#[cfg(all(feature = "enabled", not(loom)))]
#[must_use]
pub fn catalogue() -> snapshot::catalogue::Catalogue {
    registry().catalogue()
}

/// Returns a snapshot of the default registry. See [`Registry::snapshot`].
///
/// ```
/// assert!(tallies::snapshot().get("tallies_shards", &[]).is_some());
/// ```
#[cfg(all(feature = "enabled", not(loom)))]
#[must_use]
pub fn snapshot() -> snapshot::Snapshot {
    registry().snapshot()
}

/// Returns the default registry in the format that an Accept header prefers: its Content-Type and
/// its bytes.
///
/// ```
/// let (content_type, page) = tallies::render("*/*");
/// assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
/// assert!(page.starts_with(b"# HELP"));
/// ```
///
/// This is all that a handler in any web framework has to call. Its response should have `Vary:
/// Accept`. [`encode::render`] does the same for any snapshot.
#[cfg(all(feature = "enabled", not(loom)))]
#[must_use]
pub fn render(accept: &str) -> (&'static str, Vec<u8>) {
    encode::render(&snapshot(), accept)
}

/// Serves the default registry at `/metrics` on a thread of its own, in sync and async programs.
///
/// ```
/// let server = tallies::serve("127.0.0.1:0")?;
/// println!("Serving metrics on {}", server.metrics_url());
/// # server.stop();
/// # Ok::<(), tallies::Error>(())
/// ```
///
/// # Errors
///
/// Returns an error if the address cannot be bound ([`Error::is_io`]). The message has the address.
#[cfg(all(feature = "serve", not(loom)))]
pub fn serve(
    address: impl std::net::ToSocketAddrs + std::fmt::Debug,
) -> Result<serve::Serving, Error> {
    serve::Server::new().listen(address)
}

#[cfg(all(feature = "serve", not(loom)))]
impl serve::Server {
    /// Returns a server of the default registry.
    ///
    /// ```
    /// let serving = tallies::serve::Server::new().listen("127.0.0.1:0")?;
    /// println!("Serving metrics on {}", serving.metrics_url());
    /// # serving.stop();
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[expect(
        clippy::new_without_default,
        reason = "a default server is not a thing one asks for by accident"
    )]
    pub fn new() -> Self {
        Self::of(std::sync::Arc::new(registry().clone()))
    }
}

#[cfg(all(feature = "push", not(loom)))]
impl push::Pusher {
    /// Returns a pusher of the default registry, for the group of `job`, to the gateway at `url`.
    /// The URL may have a path prefix.
    ///
    /// ```no_run
    /// tallies::push::Pusher::new("http://127.0.0.1:9091", "backup").add()?;
    /// # Ok::<(), tallies::Error>(())
    /// ```
    ///
    /// Nothing is checked or sent before [`add`](Self::add), [`replace`](Self::replace),
    /// [`delete`](Self::delete) or [`start`](Self::start). Connections use the proxy of the
    /// environment (`HTTP_PROXY` and similar variables), except to this machine.
    pub fn new(url: &str, job: &str) -> Self {
        Self::of(std::sync::Arc::new(registry().clone()), url, job)
    }
}

#[cfg(all(feature = "page", not(loom)))]
impl serve::MetricsService {
    /// Returns a service of the default registry. The [type](Self) has an example.
    #[expect(
        clippy::new_without_default,
        reason = "a default service is not a thing one asks for by accident"
    )]
    pub fn new() -> Self {
        Self::of([registry()])
    }
}

/// The guides. They exist in the documentation only, and their examples are tests.
#[cfg(all(doc, feature = "enabled", not(loom)))]
pub mod docs {
    macro_rules! pages {
        ($($(#[$only:meta])? $name:ident: $file:literal),* $(,)?) => {$(
            $(#[$only])?
            #[cfg_attr(not(doctest), doc = include_str!("links.md"))]
            #[doc = include_str!($file)]
            pub mod $name {}
        )*};
    }

    pages! {
        // Their programs need several features.
        #[cfg(any(
            not(doctest),
            all(feature = "mmap", feature = "process", feature = "serve", feature = "tls")
        ))]
        guide: "../docs/guide.md",
        // Its programs need the crate that it is about: `tests/integration/lib.rs` runs them.
        #[cfg(not(doctest))]
        exporter: "../docs/exporter.md",
        #[cfg(any(not(doctest), all(feature = "mmap", feature = "process", feature = "serve")))]
        sharing: "../docs/sharing.md",
        mapped_files: "../docs/mapped-files.md",
        redis_store: "../docs/redis-store.md",
        // Its programs are a library without the engine: `tests/library` is one.
        #[cfg(not(doctest))]
        libraries: "../docs/libraries.md",
        formats: "../docs/formats.md",
        benchmarks: "../docs/benchmarks.md",
        // Its programs need the crate that it is about: `tests/integration/lib.rs` runs them.
        #[cfg(not(doctest))]
        benchmarking: "../docs/benchmarking.md",
        // As above.
        #[cfg(not(doctest))]
        where_metrics_go: "../docs/where-metrics-go.md",
        scaling: "../docs/scaling.md",
        limitations: "../docs/limitations.md",
        platforms: "../docs/platforms.md",
        // Its programs need the crates that it leads away from: `tests/integration/lib.rs` runs
        // them.
        #[cfg(not(doctest))]
        migration: "../docs/migration.md",
        from_python: "../docs/from-python.md",
        architecture: "../docs/architecture.md",
        changelog: "../CHANGELOG.md",
    }
}

/// The items that the expansions of attributes and derives use. Programs do not use them.
#[cfg(all(feature = "enabled", not(loom)))]
#[doc(hidden)]
pub mod __private {
    pub use crate::declare::{Declare, Deferred, TextCopies};
    pub use crate::family::desc::{FieldOptions, Names};
    pub use crate::instrument::__private::*;
    #[cfg(feature = "link-time")]
    pub use crate::registry::LISTED;
    pub use crate::registry::Listed;
    #[cfg(all(fuzzing, mapped))]
    pub use crate::share::files::read_bytes as read_mapped;
    #[cfg(feature = "link-time")]
    pub use linkme;
}

/// Lists a static at link time, with the feature `link-time`.
#[cfg(feature = "link-time")]
#[doc(hidden)]
#[macro_export]
macro_rules! __list {
    ($metric:ident) => {
        const _: () = {
            #[$crate::__private::linkme::distributed_slice($crate::__private::LISTED)]
            #[linkme(crate = $crate::__private::linkme)]
            static LISTED: &'static dyn $crate::__private::Listed = &$metric;
        };
    };
}

/// Does nothing without the feature `link-time`.
#[cfg(all(feature = "enabled", not(feature = "link-time")))]
#[doc(hidden)]
#[macro_export]
macro_rules! __list {
    ($metric:ident) => {};
}

/// Registers statics in the default registry, so that they are exported at zero before their first
/// use.
///
/// ```
/// use tallies::{Counter, register_all};
///
/// static UPLOADS: Counter = Counter::new("file_uploads_total").help("Files accepted.");
///
/// mod http {
///     pub static LATENCY: tallies::Histogram = tallies::Histogram::new("http_request_seconds");
/// }
///
/// register_all!(UPLOADS, http::LATENCY);
/// assert_eq!(tallies::snapshot().get("file_uploads_total", &[]), Some(0.0));
/// ```
///
/// Use it where [`#[tallies::metric]`](macro@metric) cannot list them: without the feature
/// `link-time`, and in a static library of which the linker of another language takes only some
/// parts. Call it at start-up. Registering a static twice, or one that has the attribute, does no
/// harm.
///
/// A static that is rejected, for example because another family has its name, is logged once and
/// counted in `tallies_rejected_families_total`, as at its first use. The cost is that of the first
/// use: it makes the family, and every series of a closed label set.
#[cfg(not(loom))]
#[macro_export]
macro_rules! register_all {
    ($($metric:path),* $(,)?) => {{
        $($crate::__private::Listed::enlist(&$metric);)*
    }};
}
