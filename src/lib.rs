// In the documentation, the links of the README lead to the pages in `docs`: of two definitions of
// a link, Markdown takes the first.
#![cfg_attr(all(doc, not(doctest), not(loom)), doc = include_str!("links.md"))]
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg), doc(auto_cfg(hide(loom))))]
#![deny(missing_docs, missing_debug_implementations, unreachable_pub)]

#[cfg(not(loom))]
mod clock;
#[cfg(not(loom))]
mod declare;
#[cfg(not(loom))]
pub mod encode;
#[cfg_attr(loom, allow(dead_code, reason = "models drive `observe` only"))]
mod error;
#[cfg(all(feature = "facade", not(loom)))]
pub mod facade;
#[cfg(not(loom))]
mod family;
#[cfg(not(loom))]
pub mod instrument;
#[cfg_attr(loom, allow(dead_code, reason = "models drive `observe` only"))]
#[allow(
    unreachable_pub,
    reason = "a private module whose types stand in the signatures of public ones"
)]
mod lockfree;
#[allow(
    unreachable_pub,
    reason = "a private room whose types stand in the signatures of public ones"
)]
mod observe;
#[cfg(not(loom))]
pub mod process;
#[cfg(all(feature = "push", not(loom)))]
pub mod push;
#[cfg(not(loom))]
mod registry;
#[cfg(all(feature = "tower", not(loom)))]
pub mod serve;
#[cfg_attr(loom, allow(dead_code, reason = "models drive `observe` only"))]
pub mod snapshot;
mod sync;

#[cfg(not(loom))]
pub use declare::{
    Bound, Builder, Counter, Gauge, Histogram, Info, Metric, Series, StateSet, Summary,
    UpDownCounter, trace_ids,
};
pub use error::Error;
#[cfg(not(loom))]
pub use family::label::LabelValue;
#[cfg(all(feature = "middleware", not(loom)))]
pub use instrument::http;
#[cfg(not(loom))]
pub use instrument::{count, count_errors, in_progress, timed};
#[cfg(not(loom))]
pub use observe::{Number, limit_summaries};
#[cfg(all(feature = "push", not(loom)))]
pub use push::Pusher;
#[cfg(not(loom))]
pub use registry::{Collect, Collected, Registry, registry};
#[cfg(all(feature = "tower", not(loom)))]
pub use serve::MetricsService;
#[cfg(all(feature = "serve", not(loom)))]
pub use serve::Server;
pub use snapshot::Snapshot;
#[cfg(not(loom))]
pub use tallies_macros::{LabelValue, Labels, Metrics, metric};

/// Bucket bounds, and what a histogram's buckets hold.
#[cfg(not(loom))]
pub mod buckets {
    pub use crate::declare::buckets::{
        DEFAULT, exponential, exponential_array, linear, linear_array,
    };
    pub use crate::observe::Observed;
}

/// Label sets, their names and their values.
#[cfg(not(loom))]
pub mod label {
    pub use crate::family::desc::DEFAULT_LIMIT;
    pub use crate::family::label::{
        AnyLabels, DynLabels, LabelNames, LabelSet, LabelValue, NamedLabels, Scratch, Unlabelled,
    };
}

/// Every family's merged value now: [`Registry::snapshot`] of the default registry.
///
/// ```
/// assert!(tallies::snapshot().get("tallies_shards", &[]).is_some());
/// ```
#[cfg(not(loom))]
#[must_use]
pub fn snapshot() -> Snapshot {
    registry().snapshot()
}

/// The default registry in the format that an Accept header likes best: its Content-Type, and its bytes. One line of any
/// web framework's handler, beside `Vary: Accept`; [`encode::render`] is the same of any snapshot.
///
/// ```
/// let (content_type, page) = tallies::render("*/*");
/// assert_eq!(content_type, "text/plain; version=0.0.4; charset=utf-8");
/// assert!(page.starts_with(b"# HELP"));
/// ```
#[cfg(not(loom))]
#[must_use]
pub fn render(accept: &str) -> (&'static str, Vec<u8>) {
    encode::render(&snapshot(), accept)
}

/// Serves the default registry at `/metrics`, on a thread of its own: for sync and async programs alike.
///
/// # Errors
///
/// An address that cannot be bound, which the message names. The program goes on either way.
///
/// ```
/// let server = tallies::serve("127.0.0.1:0")?;
/// println!("Serving metrics on {}", server.metrics_url());
/// # server.stop();
/// # Ok::<(), tallies::Error>(())
/// ```
#[cfg(all(feature = "serve", not(loom)))]
pub fn serve(
    address: impl std::net::ToSocketAddrs + std::fmt::Debug,
) -> Result<serve::Serving, Error> {
    Server::new().listen(address)
}

#[cfg(all(feature = "serve", not(loom)))]
impl Server {
    /// A server of the default registry.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "a default server is not a thing one asks for by accident"
    )]
    pub fn new() -> Self {
        Self::of(std::sync::Arc::new(registry().clone()))
    }
}

#[cfg(all(feature = "push", not(loom)))]
impl Pusher {
    /// A pusher of the default registry, to the gateway at `url`, path prefix and all, for the group of `job`.
    ///
    /// Nothing is checked or sent before [`add`](Self::add), [`replace`](Self::replace), [`delete`](Self::delete) or
    /// [`start`](Self::start). A proxy that the environment names (`HTTP_PROXY` and its kin) is
    /// used, but not to this machine itself.
    #[must_use]
    pub fn new(url: &str, job: &str) -> Self {
        Self::of(std::sync::Arc::new(registry().clone()), url, job)
    }
}

#[cfg(all(feature = "tower", not(loom)))]
impl MetricsService {
    /// A service of the default registry.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "a default service is not a thing one asks for by accident"
    )]
    pub fn new() -> Self {
        Self::of([registry()])
    }
}

/// The guides. They exist in the documentation only, and their examples are tests.
#[cfg(all(doc, not(loom)))]
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
        guide: "../docs/guide.md",
        formats: "../docs/formats.md",
        benchmarks: "../docs/benchmarks.md",
        limitations: "../docs/limitations.md",
        // Its programs need the crates that it leads away from: `tests/frameworks/lib.rs` runs them.
        #[cfg(not(doctest))]
        migration: "../docs/migration.md",
        architecture: "../docs/architecture.md",
        changelog: "../CHANGELOG.md",
    }
}

/// What the attributes and derives write calls to; not for programs.
#[cfg(not(loom))]
#[doc(hidden)]
pub mod __private {
    pub use crate::declare::Declare;
    pub use crate::family::desc::Options;
    pub use crate::family::label::derived::{Names, dense, dense_texts};
    pub use crate::instrument::__private::*;
    #[cfg(feature = "link-time")]
    pub use crate::registry::LISTED;
    pub use crate::registry::Listed;
    #[cfg(feature = "link-time")]
    pub use linkme;
}

/// Lists a static at link time, where that is switched on.
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

/// Lists a static at link time, where that is switched on.
#[cfg(not(feature = "link-time"))]
#[doc(hidden)]
#[macro_export]
macro_rules! __list {
    ($metric:ident) => {};
}

/// Has statics of the default registry exported from now on, at zero until their first use.
///
/// For where [`#[tallies::metric]`](macro@metric) cannot have them listed: without the feature `link-time`, and in a static
/// library that another language's linker takes the parts of. Call it at start-up. A static that is there already stays
/// as it is, so it does no harm beside the attribute, or twice.
///
/// What is refused, such as a name that is another family's, is said on standard error and counted in
/// `tallies_refused_families_total`, as it would be at its first use. Costs what the first use would: it makes the family,
/// and every series of a closed label set.
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
#[cfg(not(loom))]
#[macro_export]
macro_rules! register_all {
    ($($metric:path),* $(,)?) => {{
        $($crate::__private::Listed::enlist(&$metric);)*
    }};
}
