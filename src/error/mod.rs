//! The only error type of the crate. Its kind holds data; the message names the offending value, the
//! location, and what would be right.

mod kind;
mod rule;

use std::fmt;
use std::panic::Location;

use crate::snapshot;
use crate::snapshot::sketch::TargetError;

pub(crate) use kind::Subject;
pub(crate) use rule::{BucketRule, Difference, NameRule, UpdateRule, WindowRule};

use kind::Kind;

type Place = &'static Location<'static>;

/// An error: what went wrong, where, and what would be right.
///
/// ```
/// let registry = tallies::Registry::new();
/// let error = registry.counter("bad-name", "Not a metric name.").unwrap_err();
/// assert!(error.to_string().contains("bad-name"));
/// ```
///
/// Updates never return it. Only operations that run once do, such as registering a family or
/// opening a socket, and the `try_` variants of updates that can be rejected.
///
/// The message includes the cause, for example that of the operating system. So `source()` returns
/// `None`: a reporter that walks the chain of sources would print the cause twice, and a log line
/// or a `main` that prints only the error would miss it. Callers that branch on the cause use
/// [`io_kind`](Self::io_kind). `Debug` prints the message as well, because `main` prints an error
/// that it returns with `Debug`.
pub struct Error(Box<Kind>);

impl Error {
    /// Returns whether the name of a family or collector is taken: by another one of the registry,
    /// or by one that would expose the same samples.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// registry.counter("jobs_total", "Jobs done.")?;
    /// let error = registry.gauge("jobs_total", "Jobs done.").unwrap_err();
    /// assert!(error.is_already_registered());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn is_already_registered(&self) -> bool {
        matches!(
            *self.0,
            Kind::Registered { .. }
                | Kind::Family { .. }
                | Kind::Collector { .. }
                | Kind::SharedSamples { .. }
        )
    }

    /// Returns whether the name of a metric or label is invalid: outside the grammar, reserved, or
    /// given twice.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let error = registry.counter("jobs-total", "Jobs done.").unwrap_err();
    /// assert!(error.is_invalid_name());
    /// ```
    #[must_use]
    pub fn is_invalid_name(&self) -> bool {
        matches!(*self.0, Kind::Name { .. } | Kind::EscapedLabels { .. })
    }

    /// Returns whether an update was rejected because of its value or its exemplar. Such an update
    /// changes nothing, and `tallies_refused_updates_total` counts it.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let waits = registry.histogram("wait_seconds", "Time in the queue.")?;
    /// let error = waits.try_observe(f64::NAN).unwrap_err();
    /// assert!(error.is_rejected_update());
    /// # Ok::<(), tallies::Error>(())
    /// ```
    #[must_use]
    pub fn is_rejected_update(&self) -> bool {
        matches!(
            *self.0,
            Kind::Update { .. }
                | Kind::ExemplarLength { .. }
                | Kind::Name {
                    subject: Subject::Exemplar,
                    ..
                }
        )
    }

    /// Returns whether an operation on a socket, a file or a thread failed. [`io_kind`](Self::io_kind)
    /// tells how.
    ///
    /// ```
    /// # #[cfg(feature = "serve")]
    /// # fn main() {
    /// let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let address = taken.local_addr().unwrap();
    /// let error = tallies::Server::new().listen(address).unwrap_err();
    /// assert!(error.is_io());
    /// # }
    /// # #[cfg(not(feature = "serve"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn is_io(&self) -> bool {
        self.io_kind().is_some()
    }

    /// Returns how an operation on a socket, a file or a thread failed, or `None` for other errors.
    ///
    /// ```
    /// # #[cfg(feature = "serve")]
    /// # fn main() {
    /// let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let address = taken.local_addr().unwrap();
    /// let error = tallies::Server::new().listen(address).unwrap_err();
    /// assert_eq!(error.io_kind(), Some(std::io::ErrorKind::AddrInUse));
    /// # }
    /// # #[cfg(not(feature = "serve"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn io_kind(&self) -> Option<std::io::ErrorKind> {
        match &*self.0 {
            #[cfg(feature = "serve")]
            Kind::Listen { cause, .. } | Kind::Serve { cause, .. } => Some(cause.kind()),
            #[cfg(feature = "tls")]
            Kind::File { cause, .. } => kind_of(&**cause),
            #[cfg(feature = "push")]
            Kind::Push { cause, .. } => kind_of(&**cause),
            #[cfg(feature = "push")]
            Kind::PushTimeout { .. } => Some(std::io::ErrorKind::TimedOut),
            _ => None,
        }
    }
}

/// Returns the kind of an error of the operating system.
#[cfg(any(feature = "tls", feature = "push"))]
fn kind_of(cause: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    cause
        .downcast_ref::<std::io::Error>()
        .map(std::io::Error::kind)
}

/// Names and labels.
impl Error {
    /// A name that breaks a rule.
    pub(crate) fn name_of(subject: Subject, name: &str, rule: NameRule) -> Self {
        let name = name.into();
        Self::from(Kind::Name {
            subject,
            name,
            rule,
        })
    }

    /// A metric name that breaks a rule.
    pub(crate) fn name(name: &str, rule: NameRule) -> Self {
        Self::name_of(Subject::Metric, name, rule)
    }

    /// A label name that breaks a rule.
    pub(crate) fn label_name(family: &str, label: &str, rule: NameRule) -> Self {
        Self::name_of(Subject::Label(family.into()), label, rule)
    }

    /// Two label names that are equal after escaping.
    pub(crate) fn same_label(family: &str, label: &str, other: &str, escaped: &str) -> Self {
        Self::from(Kind::EscapedLabels {
            family: family.into(),
            label: label.into(),
            other: other.into(),
            escaped: escaped.into(),
        })
    }

    /// A wrong number of labels. `names` are those of the family, if it has them already.
    pub(crate) fn label_count(family: &str, names: &[&str], expected: usize, got: usize) -> Self {
        Self::from(Kind::LabelCount {
            family: family.into(),
            names: names.iter().map(|name| Box::from(*name)).collect(),
            expected,
            got,
        })
    }

    pub(crate) fn missing_label(family: &str, label: &str) -> Self {
        Self::from(Kind::MissingLabel {
            family: family.into(),
            label: label.into(),
        })
    }

    /// A state set whose states are not those of an enum.
    pub(crate) fn no_states(name: &str) -> Self {
        Self::from(Kind::NoStates(name.into()))
    }
}

/// Conflicts in a registry.
impl Error {
    /// A family of the same name as one that was registered at `place`.
    pub(crate) fn registered(
        name: &str,
        kind: snapshot::Kind,
        place: Place,
        difference: Option<Difference>,
    ) -> Self {
        Self::from(Kind::Registered {
            name: name.into(),
            declared: None,
            kind,
            place,
            difference,
        })
    }

    /// A collector or, if `new` is some, a function that computes a metric of this kind, with the
    /// name of a family.
    pub(crate) fn taken_by_family(
        name: &str,
        first: snapshot::Kind,
        place: Place,
        new: Option<snapshot::Kind>,
    ) -> Self {
        Self::from(Kind::Family {
            name: name.into(),
            first,
            place,
            new,
        })
    }

    /// A static, declared at `declared`, that is not exported because its name is taken.
    pub(crate) fn not_exported(
        name: &str,
        declared: Place,
        kind: snapshot::Kind,
        place: Place,
        difference: Option<Difference>,
    ) -> Self {
        Self::from(Kind::Registered {
            name: name.into(),
            declared: Some(declared),
            kind,
            place,
            difference,
        })
    }

    /// A name that a collector has, or a function that computes a metric of this kind.
    pub(crate) fn collector(name: &str, kind: Option<snapshot::Kind>, place: Place) -> Self {
        Self::from(Kind::Collector {
            name: name.into(),
            kind,
            place,
        })
    }

    /// A family that would expose samples of another one.
    pub(crate) fn shared_samples(name: &str, other: &str, place: Place) -> Self {
        Self::from(Kind::SharedSamples {
            name: name.into(),
            other: other.into(),
            place: Some(place),
        })
    }

    /// A family that would expose samples of a family of another registry on the page.
    #[cfg(any(feature = "tower", feature = "push"))]
    pub(crate) fn beside(name: &str, other: &str) -> Self {
        Self::from(Kind::SharedSamples {
            name: name.into(),
            other: other.into(),
            place: None,
        })
    }

    pub(crate) fn absent(name: &str) -> Self {
        Self::from(Kind::Absent(name.into()))
    }

    pub(crate) fn constants_too_late(name: &str) -> Self {
        Self::from(Kind::TooLate {
            subject: Subject::Constant,
            name: name.into(),
        })
    }

    pub(crate) fn prefix_too_late(prefix: &str) -> Self {
        Self::from(Kind::TooLate {
            subject: Subject::Prefix,
            name: prefix.into(),
        })
    }

    /// A family that has reached its limit.
    pub(crate) fn overflow(family: &str, limit: usize) -> Self {
        Self::from(Kind::SeriesLimit {
            family: family.into(),
            limit,
        })
    }
}

/// Shapes of families.
impl Error {
    pub(crate) fn buckets(family: &str, rule: BucketRule) -> Self {
        Self::from(Kind::Buckets {
            family: Some(family.into()),
            rule,
        })
    }

    /// Bounds that a function cannot compute from its arguments.
    pub(crate) fn bucket_helper(rule: BucketRule) -> Self {
        Self::from(Kind::Buckets { family: None, rule })
    }

    pub(crate) fn objectives(family: &str, rule: TargetError) -> Self {
        Self::from(Kind::Objectives {
            family: family.into(),
            rule,
        })
    }

    pub(crate) fn window(family: &str, rule: WindowRule) -> Self {
        Self::from(Kind::Window {
            family: family.into(),
            rule,
        })
    }
}

/// Updates and exemplars.
impl Error {
    pub(crate) fn update(family: &str, value: f64, rule: UpdateRule) -> Self {
        Self::from(Kind::Update {
            family: family.into(),
            value,
            rule,
        })
    }

    pub(crate) fn exemplar_length(limit: usize, got: usize) -> Self {
        Self::from(Kind::ExemplarLength { limit, got })
    }

    pub(crate) fn trace_ids_set() -> Self {
        Self::from(Kind::TraceIdsSet)
    }
}

/// Collectors.
impl Error {
    /// A collector that failed at a scrape.
    pub(crate) fn collector_failed(name: &str, why: &str) -> Self {
        Self::from(Kind::CollectorFailed {
            name: name.into(),
            why: why.into(),
        })
    }

    /// A name that a collector writes with two kinds.
    pub(crate) fn written(name: &str, first: snapshot::Kind, new: snapshot::Kind) -> Self {
        let name = name.into();
        Self::from(Kind::Written { name, first, new })
    }

    pub(crate) fn series_twice(family: &str, labels: &str) -> Self {
        Self::from(Kind::SeriesTwice {
            family: family.into(),
            labels: labels.into(),
        })
    }

    /// A series with other bounds than the first one of its family.
    pub(crate) fn other_bounds(family: &str, first: &[f64], new: &[f64]) -> Self {
        Self::from(Kind::OtherBounds {
            family: family.into(),
            first: first.into(),
            new: new.into(),
        })
    }
}

/// Snapshots and pages.
impl Error {
    pub(crate) fn interval_quantile() -> Self {
        Self::from(Kind::IntervalQuantile)
    }

    pub(crate) fn page_quantile() -> Self {
        Self::from(Kind::PageQuantile)
    }

    pub(crate) fn merge_page(name: &str) -> Self {
        Self::from(Kind::MergePage(name.into()))
    }

    pub(crate) fn merge(name: &str, difference: Difference) -> Self {
        let name = name.into();
        Self::from(Kind::Merge { name, difference })
    }

    /// An error in a page that is not a valid exposition. Lines and columns count from 1.
    pub(crate) fn read(line: usize, column: usize, what: &str) -> Self {
        let what = what.into();
        Self::from(Kind::Page { line, column, what })
    }
}

/// The recorder for the `metrics` crate.
#[cfg(feature = "facade")]
impl Error {
    pub(crate) fn too_many_names(limit: usize) -> Self {
        Self::from(Kind::NameLimit(limit))
    }

    /// A name that was used for another kind of metric.
    pub(crate) fn used(name: &str, first: snapshot::Kind, new: snapshot::Kind) -> Self {
        let name = name.into();
        Self::from(Kind::Used { name, first, new })
    }

    pub(crate) fn recorder_installed() -> Self {
        Self::from(Kind::RecorderInstalled)
    }
}

/// Settings with a value that breaks a rule.
#[cfg(any(feature = "serve", feature = "push", feature = "middleware"))]
impl Error {
    pub(crate) fn setting(what: &'static str, value: &str, rule: &'static str) -> Self {
        let value = value.into();
        Self::from(Kind::Setting { what, value, rule })
    }
}

/// The metrics service.
#[cfg(feature = "serve")]
impl Error {
    pub(crate) fn bind(address: &str, cause: std::io::Error) -> Self {
        let address = address.into();
        Self::from(Kind::Listen { address, cause })
    }

    pub(crate) fn serve(action: &'static str, cause: std::io::Error) -> Self {
        Self::from(Kind::Serve { action, cause })
    }

    /// Settings of the service that lack something, or contain an unusable secret.
    pub(crate) fn service(rule: &'static str) -> Self {
        Self::from(Kind::Service(rule))
    }

    /// A file of the service that cannot be used.
    #[cfg(feature = "tls")]
    pub(crate) fn file(
        what: &'static str,
        path: &std::path::Path,
        cause: impl Into<kind::Cause>,
    ) -> Self {
        Self::from(Kind::File {
            what,
            path: path.into(),
            cause: cause.into(),
        })
    }
}

/// Pushes to a gateway.
#[cfg(feature = "push")]
impl Error {
    pub(crate) fn group_label(family: &str, label: &str, value: &str) -> Self {
        Self::from(Kind::GroupLabel {
            family: family.into(),
            label: label.into(),
            value: value.into(),
        })
    }

    pub(crate) fn push_failed(action: &str, url: &str, cause: impl Into<kind::Cause>) -> Self {
        Self::from(Kind::Push {
            action: action.into(),
            url: url.into(),
            cause: cause.into(),
        })
    }

    pub(crate) fn push_timeout(method: &str, url: &str, timeout: std::time::Duration) -> Self {
        Self::from(Kind::PushTimeout {
            method: method.into(),
            url: url.into(),
            timeout,
        })
    }

    pub(crate) fn push_rejected(method: &str, url: &str, status: &str, text: &str) -> Self {
        Self::from(Kind::PushStatus {
            method: method.into(),
            url: url.into(),
            status: status.into(),
            text: text.into(),
        })
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self(Box::new(kind))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Same text as `Display`, because `main` prints an error that it returns with `Debug`.
        write!(f, "{self}")
    }
}

impl std::error::Error for Error {}

/// Writes a warning to standard error: something that the user has to know although no call returns
/// it. The caller makes sure that each cause is logged once.
pub(crate) fn warn(what: &dyn fmt::Display) {
    use std::io::Write;
    // Ignores a failed write: a closed standard error is no reason to panic.
    let _ = writeln!(std::io::stderr(), "tallies: {what}");
}

/// Calls [`warn()`] the first time that it gets this message.
#[cfg(any(feature = "middleware", feature = "push"))]
pub(crate) fn warn_once(what: &dyn fmt::Display) {
    static LOGGED: std::sync::Mutex<std::collections::BTreeSet<String>> =
        std::sync::Mutex::new(std::collections::BTreeSet::new());
    let mut logged = LOGGED
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    if logged.insert(what.to_string()) {
        warn(what);
    }
}
