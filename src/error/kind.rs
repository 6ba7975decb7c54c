//! The kinds of an [`Error`], as data.

use std::panic::Location;

use crate::snapshot::{self, sketch::TargetError};

#[cfg(feature = "config-files")]
use super::Error;
use super::rule::{BucketRule, Difference, NameRule, UpdateRule, WindowRule};

#[cfg(any(feature = "tls", feature = "push", feature = "redis"))]
pub(super) type Cause = Box<dyn std::error::Error + Send + Sync>;
/// Where a family was declared or registered.
pub(super) type Site = &'static Location<'static>;

/// The cause of an error, with the data that its message shows.
#[derive(Debug)]
pub(crate) enum Kind {
    /// A name breaks a rule.
    Name {
        subject: Subject,
        name: Box<str>,
        rule: NameRule,
    },
    /// Two label names are equal after escaping.
    EscapedLabels {
        family: Box<str>,
        label: Box<str>,
        other: Box<str>,
        escaped: Box<str>,
    },
    /// A family of this name is registered. Without a difference, the two are the same family.
    Registered {
        name: Box<str>,
        /// Where a static was declared that is not exported for this reason.
        declared: Option<Site>,
        kind: snapshot::Kind,
        location: Site,
        difference: Option<Difference>,
    },
    /// A metric that was declared for the default registry is no static.
    DeclaredAgain {
        name: Box<str>,
        location: Site,
    },
    /// A collector or, if `new` is some, a function that computes a metric of this kind, has the
    /// name of a family.
    Family {
        name: Box<str>,
        first: snapshot::Kind,
        location: Site,
        new: Option<snapshot::Kind>,
    },
    /// The name belongs to a collector or, if `kind` is some, to a function that computes a metric
    /// of this kind.
    Collector {
        name: Box<str>,
        kind: Option<snapshot::Kind>,
        location: Site,
    },
    /// A family would expose samples of another family.
    SharedSamples {
        name: Box<str>,
        other: Box<str>,
        /// Where the other family was registered; `None` if it belongs to another registry.
        location: Option<Site>,
    },
    /// A collector has written the name with another kind in the same scrape.
    Written {
        name: Box<str>,
        first: snapshot::Kind,
        new: snapshot::Kind,
    },
    Absent(Box<str>),
    /// A kind of metric, given as data, that does not exist.
    MetricType(Box<str>),
    /// An enum, given as data, has no states.
    NoStatesGiven(Box<str>),
    /// Two metrics in one list have the same name.
    MetricTwice(Box<str>),
    /// A setting of a metric that was given as data breaks a rule.
    MetricSetting {
        family: Box<str>,
        key: &'static str,
        value: Box<str>,
        rule: &'static str,
    },
    /// No metric of this name was created from data.
    NotCreated(Box<str>),
    /// A metric that was created from data is of a kind that has no such update.
    OtherUpdate {
        family: Box<str>,
        /// The kind that it has, in the words of a configuration.
        kind: &'static str,
        update: &'static str,
    },
    /// An enum that was created from data has no such state.
    NoState {
        family: Box<str>,
        state: Box<str>,
        states: Box<[Box<str>]>,
    },
    /// An error at a place in a file.
    #[cfg(feature = "config-files")]
    At {
        file: Option<Box<str>>,
        line: usize,
        column: usize,
        cause: Error,
    },
    /// A file of settings that has the wrong form.
    #[cfg(feature = "config-files")]
    Document(Box<str>),
    /// A file of settings that cannot be read.
    #[cfg(feature = "config-files")]
    Unreadable {
        path: Box<std::path::Path>,
        cause: std::io::Error,
    },
    /// Constant labels and the prefix are fixed by the first scrape.
    TooLate {
        subject: Subject,
        name: Box<str>,
    },
    /// The number of labels is not that of the family.
    LabelCount {
        family: Box<str>,
        /// The label names of the family, if it has them already.
        names: Box<[Box<str>]>,
        expected: usize,
        got: usize,
    },
    UnknownLabel {
        family: Box<str>,
        label: Box<str>,
        /// The label names of the family.
        names: Box<[Box<str>]>,
    },
    MissingLabel {
        family: Box<str>,
        label: Box<str>,
    },
    NoStates(Box<str>),
    /// A view breaks a rule.
    View {
        pattern: Box<str>,
        why: Box<str>,
    },
    /// A view comes after a family that it would change.
    ViewTooLate {
        pattern: Box<str>,
        family: Box<str>,
        location: Site,
    },
    /// Buckets break a rule.
    Buckets {
        family: Box<str>,
        rule: BucketRule,
    },
    /// The arguments of a function that computes bounds break a rule.
    BucketHelper {
        function: &'static str,
        rule: BucketRule,
    },
    OtherBounds {
        family: Box<str>,
        first: Box<[f64]>,
        new: Box<[f64]>,
    },
    Objectives {
        family: Box<str>,
        rule: TargetError,
    },
    Window {
        family: Box<str>,
        rule: WindowRule,
    },
    Update {
        family: Box<str>,
        value: f64,
        rule: UpdateRule,
    },
    ExemplarLength {
        limit: usize,
        got: usize,
    },
    TraceIdsSet,
    SeriesLimit {
        family: Box<str>,
        limit: usize,
    },
    /// What a crate that builds on this one says.
    Message(Box<str>),
    /// A collector failed at a scrape.
    CollectorFailed {
        name: Box<str>,
        why: Box<str>,
    },
    /// A collector wrote a series twice.
    SeriesTwice {
        family: Box<str>,
        labels: Box<str>,
    },
    IntervalQuantile,
    PageQuantile,
    MergePage(Box<str>),
    /// Two snapshots have a family of this name that cannot be added.
    Merge {
        name: Box<str>,
        difference: Difference,
    },
    /// A page is not a valid exposition. Line and column count from 1.
    Page {
        line: usize,
        column: usize,
        what: Box<str>,
    },
    /// A setting with a value that breaks a rule.
    #[cfg(any(feature = "serve", feature = "push", feature = "redis"))]
    Setting {
        what: &'static str,
        value: Box<str>,
        rule: &'static str,
    },
    /// The settings of the metrics service lack something, or have a secret value that breaks a
    /// rule.
    #[cfg(feature = "serve")]
    Service(&'static str),
    #[cfg(feature = "serve")]
    Listen {
        address: Box<str>,
        cause: std::io::Error,
    },
    #[cfg(feature = "tower")]
    Serve {
        action: &'static str,
        cause: std::io::Error,
    },
    /// A directory that processes share, or a file in it.
    #[cfg(mapped)]
    Share {
        action: &'static str,
        path: Box<str>,
        cause: std::io::Error,
    },
    #[cfg(feature = "tls")]
    File {
        what: &'static str,
        path: Box<std::path::Path>,
        cause: Cause,
    },
    /// A label of a pushed series is a label of the group as well.
    #[cfg(feature = "push")]
    GroupLabel {
        family: Box<str>,
        label: Box<str>,
        value: Box<str>,
    },
    #[cfg(feature = "push")]
    Push {
        action: Box<str>,
        url: Box<str>,
        cause: Cause,
    },
    #[cfg(feature = "push")]
    PushTimeout {
        method: Box<str>,
        url: Box<str>,
        timeout: std::time::Duration,
    },
    /// The gateway responded with another status than 2xx.
    #[cfg(feature = "push")]
    PushStatus {
        method: Box<str>,
        url: Box<str>,
        status: Box<str>,
        text: Box<str>,
    },
    /// An operation on a store that processes share failed.
    #[cfg(feature = "redis")]
    Store {
        action: Box<str>,
        store: Box<str>,
        cause: Cause,
    },
    /// The last view of a store is too old to be served; none if there was none yet.
    #[cfg(feature = "redis")]
    StaleStore {
        store: Box<str>,
        age: Option<std::time::Duration>,
        limit: std::time::Duration,
        /// The last failure.
        cause: Box<str>,
    },
}

/// The owner of a name.
#[derive(Debug)]
pub(crate) enum Subject {
    /// A family.
    Metric,
    /// A family that a collector writes.
    Collected,
    /// The prefix of a registry.
    Prefix,
    /// A label of a family.
    Label(Box<str>),
    /// A label of a family that a collector writes.
    CollectedLabel(Box<str>),
    /// A constant label of a registry.
    Constant,
    /// A label of an exemplar.
    Exemplar,
}
