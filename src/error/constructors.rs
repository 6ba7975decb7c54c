//! A constructor for each kind of error.

use crate::snapshot;
use crate::snapshot::sketch::TargetError;

use super::Error;
#[cfg(any(feature = "tls", feature = "push", feature = "redis"))]
use super::kind::Cause;
use super::kind::{Kind, Site, Subject};
use super::rule::{BucketRule, Difference, NameRule, UpdateRule, WindowRule};

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

    /// A label that the family does not have. `names` are those that it has.
    pub(crate) fn unknown_label(family: &str, label: &str, names: &[&str]) -> Self {
        Self::from(Kind::UnknownLabel {
            family: family.into(),
            label: label.into(),
            names: names.iter().map(|name| Box::from(*name)).collect(),
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
    /// A family of the same name as one that was registered at `location`.
    pub(crate) fn registered(
        name: &str,
        kind: snapshot::Kind,
        location: Site,
        difference: Option<Difference>,
    ) -> Self {
        Self::from(Kind::Registered {
            name: name.into(),
            declared: None,
            kind,
            location,
            difference,
        })
    }

    /// A collector or, if `new` is some, a function that computes a metric of this kind, with the
    /// name of a family.
    pub(crate) fn taken_by_family(
        name: &str,
        first: snapshot::Kind,
        location: Site,
        new: Option<snapshot::Kind>,
    ) -> Self {
        Self::from(Kind::Family {
            name: name.into(),
            first,
            location,
            new,
        })
    }

    /// A static, declared at `declared`, that is not exported because its name is taken.
    pub(crate) fn not_exported(
        name: &str,
        declared: Site,
        kind: snapshot::Kind,
        location: Site,
        difference: Option<Difference>,
    ) -> Self {
        Self::from(Kind::Registered {
            name: name.into(),
            declared: Some(declared),
            kind,
            location,
            difference,
        })
    }

    /// A metric that is no static, so that each use of it declares it.
    pub(crate) fn declared_again(name: &str, location: Site) -> Self {
        let name = name.into();
        Self::from(Kind::DeclaredAgain { name, location })
    }

    /// A name that a collector has, or a function that computes a metric of this kind.
    pub(crate) fn collector(name: &str, kind: Option<snapshot::Kind>, location: Site) -> Self {
        Self::from(Kind::Collector {
            name: name.into(),
            kind,
            location,
        })
    }

    /// A family that would expose samples of another one.
    pub(crate) fn shared_samples(name: &str, other: &str, location: Site) -> Self {
        Self::from(Kind::SharedSamples {
            name: name.into(),
            other: other.into(),
            location: Some(location),
        })
    }

    /// A family that would expose samples of a family of another registry on the page.
    #[cfg(any(feature = "tower", feature = "push", mapped, feature = "redis"))]
    pub(crate) fn beside(name: &str, other: &str) -> Self {
        Self::from(Kind::SharedSamples {
            name: name.into(),
            other: other.into(),
            location: None,
        })
    }

    pub(crate) fn absent(name: &str) -> Self {
        Self::from(Kind::Absent(name.into()))
    }

    /// A view that breaks a rule.
    pub(crate) fn view(pattern: &str, why: &str) -> Self {
        Self::from(Kind::View {
            pattern: pattern.into(),
            why: why.into(),
        })
    }

    /// A view of a family that was registered before.
    pub(crate) fn view_too_late(pattern: &str, family: &str, location: Site) -> Self {
        Self::from(Kind::ViewTooLate {
            pattern: pattern.into(),
            family: family.into(),
            location,
        })
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
            family: family.into(),
            rule,
        })
    }

    /// Bounds that a function of [`buckets`](crate::buckets) cannot compute from its arguments.
    pub(crate) fn bucket_helper(function: &'static str, rule: BucketRule) -> Self {
        Self::from(Kind::BucketHelper { function, rule })
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

/// Metrics that were given as data.
impl Error {
    pub(crate) fn metric_type(name: &str) -> Self {
        Self::from(Kind::MetricType(name.into()))
    }

    pub(crate) fn no_states_given(name: &str) -> Self {
        Self::from(Kind::NoStatesGiven(name.into()))
    }

    pub(crate) fn metric_twice(name: &str) -> Self {
        Self::from(Kind::MetricTwice(name.into()))
    }

    pub(crate) fn metric_setting(
        family: &str,
        key: &'static str,
        value: &str,
        rule: &'static str,
    ) -> Self {
        Self::from(Kind::MetricSetting {
            family: family.into(),
            key,
            value: value.into(),
            rule,
        })
    }

    pub(crate) fn not_created(name: &str) -> Self {
        Self::from(Kind::NotCreated(name.into()))
    }

    pub(crate) fn other_update(family: &str, kind: &'static str, update: &'static str) -> Self {
        Self::from(Kind::OtherUpdate {
            family: family.into(),
            kind,
            update,
        })
    }

    pub(crate) fn no_state(family: &str, state: &str, states: &[Box<str>]) -> Self {
        Self::from(Kind::NoState {
            family: family.into(),
            state: state.into(),
            states: states.into(),
        })
    }

    /// An error at a place in a file or text. Lines and columns count from 1.
    #[cfg(feature = "config-files")]
    pub(crate) fn at(file: Option<&str>, (line, column): (usize, usize), cause: Self) -> Self {
        Self::from(Kind::At {
            file: file.map(Into::into),
            line,
            column,
            cause,
        })
    }

    #[cfg(feature = "config-files")]
    pub(crate) fn document(what: impl Into<Box<str>>) -> Self {
        Self::from(Kind::Document(what.into()))
    }

    #[cfg(feature = "config-files")]
    pub(crate) fn unreadable(path: &std::path::Path, cause: std::io::Error) -> Self {
        let path = path.into();
        Self::from(Kind::Unreadable { path, cause })
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

/// Settings with a value that breaks a rule.
#[cfg(any(feature = "serve", feature = "push", feature = "redis"))]
impl Error {
    pub(crate) fn setting(what: &'static str, value: &str, rule: &'static str) -> Self {
        let value = value.into();
        Self::from(Kind::Setting { what, value, rule })
    }
}

/// The metrics service.
#[cfg(feature = "tower")]
impl Error {
    /// A failure while the service answers.
    pub(crate) fn serve(action: &'static str, cause: std::io::Error) -> Self {
        Self::from(Kind::Serve { action, cause })
    }
}

#[cfg(mapped)]
impl Error {
    /// A directory that processes share, or a file in it, cannot be used.
    pub(crate) fn share(
        action: &'static str,
        path: &std::path::Path,
        cause: std::io::Error,
    ) -> Self {
        let path = path.to_string_lossy().into();
        Self::from(Kind::Share {
            action,
            path,
            cause,
        })
    }
}

#[cfg(feature = "serve")]
impl Error {
    pub(crate) fn bind(address: &str, cause: std::io::Error) -> Self {
        let address = address.into();
        Self::from(Kind::Listen { address, cause })
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
        cause: impl Into<Cause>,
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

    pub(crate) fn push_failed(action: &str, url: &str, cause: impl Into<Cause>) -> Self {
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

/// Stores that processes share.
#[cfg(feature = "redis")]
impl Error {
    pub(crate) fn store(action: &str, store: &str, cause: impl Into<Cause>) -> Self {
        Self::from(Kind::Store {
            action: action.into(),
            store: store.into(),
            cause: cause.into(),
        })
    }

    pub(crate) fn stale_store(
        store: &str,
        age: Option<std::time::Duration>,
        limit: std::time::Duration,
        cause: String,
    ) -> Self {
        Self::from(Kind::StaleStore {
            store: store.into(),
            age,
            limit,
            cause: cause.into(),
        })
    }
}
