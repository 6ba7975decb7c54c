//! The message of each kind of error.

use std::fmt;

use crate::snapshot;

use super::kind::{Kind, Subject};
use super::rule::{Difference, NameRule, UpdateRule, join};

/// Explains why two different names clash.
const SAMPLES: &str = "because suffixes such as `_total` and `_sum`, or the escaping of UTF-8 \
                       names, make names equal";

impl fmt::Display for Kind {
    #[expect(clippy::too_many_lines, reason = "a message for each kind")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name {
                subject,
                name,
                rule,
            } => fmt_name(f, subject, name, *rule),
            Self::EscapedLabels {
                family,
                label,
                other,
                escaped,
            } => write!(
                f,
                "labels `{label}` and `{other}` of family `{family}` both become `{escaped}` for \
                 a reader without UTF-8 names; rename one of them"
            ),
            Self::Registered {
                name,
                declared,
                kind,
                location,
                difference,
            } => {
                write!(f, "family `{name}`")?;
                if let Some(declared) = declared {
                    write!(f, ", declared at {declared}, is not exported: it")?;
                }
                let article = article(*kind);
                write!(
                    f,
                    " is already registered as {article} {kind} at {location}"
                )?;
                match difference {
                    None => {
                        f.write_str("; `get_or_register` on its builder returns the registered one")
                    }
                    Some(Difference::Kind(_, new)) => {
                        let article = self::article(*new);
                        write!(f, "; {article} {new} needs another name")
                    }
                    Some(difference) => {
                        write!(f, ", but with {}", difference.property())?;
                        difference.write_values(f, "there", "here")?;
                        f.write_str(
                            "; make both equal, rename one, or give one a prefix (`.prefix(..)`)",
                        )
                    }
                }
            }
            Self::DeclaredAgain { name, location } => write!(
                f,
                "family `{name}` is declared again by each use of the metric at {location}, which \
                 makes updates slow; make it a `static`"
            ),
            Self::Family {
                name,
                first,
                location,
                new,
            } => {
                let article = article(*first);
                write!(
                    f,
                    "family `{name}` is already registered as {article} {first} at {location}; "
                )?;
                match new {
                    Some(new) => write!(f, "{} needs another name", function(*new)),
                    None => f.write_str("a collector needs another name"),
                }
            }
            Self::Collector {
                name,
                kind,
                location,
            } => {
                let owner = kind.map_or("a collector", function);
                write!(
                    f,
                    "the name `{name}` is already registered for {owner} at {location}; use \
                     another name, or remove that one first"
                )
            }
            Self::SharedSamples {
                name,
                other,
                location,
            } => {
                write!(
                    f,
                    "family `{name}` would expose the same samples as `{other}`"
                )?;
                match location {
                    Some(location) => write!(
                        f,
                        ", registered at {location}, {SAMPLES}; rename one of them"
                    ),
                    None => write!(
                        f,
                        " of another registry on the page, {SAMPLES}; rename one of them, or give \
                         one registry a prefix (`Registry::prefix`)"
                    ),
                }
            }
            Self::Written { name, first, new } => write!(
                f,
                "family `{name}` was written as {} {first} before in this scrape; {} {new} needs \
                 another name",
                article(*first),
                article(*new)
            ),
            Self::Absent(name) => {
                write!(
                    f,
                    "no family or collector `{}` is registered",
                    name.escape_debug()
                )
            }
            Self::MetricType(name) => write!(
                f,
                "Invalid type for {}: must be one of counter, enum, gauge, histogram, info, summary",
                name.escape_debug()
            ),
            Self::NoStatesGiven(name) => {
                write!(f, "No states provided for Enum metric: {}", name.escape_debug())
            }
            Self::MetricTwice(name) => write!(
                f,
                "metric `{}` is given twice; remove or rename one of them",
                name.escape_debug()
            ),
            Self::MetricSetting {
                family,
                key,
                value,
                rule,
            } => write!(
                f,
                "`{key}` of metric `{}` {rule}, got {value}",
                family.escape_debug()
            ),
            Self::NotCreated(name) => write!(
                f,
                "no metric `{}` was created from a configuration",
                name.escape_debug()
            ),
            Self::OtherUpdate {
                family,
                kind,
                update,
            } => write!(f, "metric `{family}` is of type {kind}, which has no `{update}`"),
            Self::NoState {
                family,
                state,
                states,
            } => write!(
                f,
                "metric `{family}` has no state `{}`; its states are {}",
                state.escape_debug(),
                join(states.iter().map(|state| format!("`{state}`")))
            ),
            #[cfg(feature = "config-files")]
            Self::At {
                file,
                line,
                column,
                cause,
            } => {
                if let Some(file) = file {
                    write!(f, "{}, ", file.escape_debug())?;
                }
                write!(f, "line {line}, column {column}: {cause}")
            }
            #[cfg(feature = "config-files")]
            Self::Document(what) => f.write_str(what),
            #[cfg(feature = "config-files")]
            Self::Unreadable { path, cause } => {
                let path = path.display().to_string();
                write!(f, "cannot read `{}`: {cause}", path.escape_debug())
            }
            Self::TooLate { subject, name } => {
                write!(
                    f,
                    "{subject} `{name}` is set too late: set it at start-up, before the first \
                     scrape"
                )
            }
            Self::View { pattern, why } => {
                write!(f, "view `{}` {why}", pattern.escape_debug())
            }
            Self::ViewTooLate {
                pattern,
                family,
                location,
            } => write!(
                f,
                "view `{}` is set too late: family `{family}` was registered before, at \
                 {location}; add views at start-up, before the metrics that they change",
                pattern.escape_debug()
            ),
            Self::LabelCount {
                family,
                names,
                expected,
                got,
            } => {
                let plural = if *expected == 1 { "" } else { "s" };
                write!(f, "family `{family}` takes {expected} label{plural}")?;
                if !names.is_empty() {
                    write!(
                        f,
                        " ({})",
                        join(names.iter().map(|name| format!("`{name}`")))
                    )?;
                }
                write!(f, ", got {got}")
            }
            Self::UnknownLabel {
                family,
                label,
                names,
            } => write!(
                f,
                "family `{family}` has no label `{}`; it has {}",
                label.escape_debug(),
                join(names.iter().map(|name| format!("`{name}`")))
            ),
            Self::MissingLabel { family, label } => {
                write!(f, "the label `{label}` of family `{family}` is missing")
            }
            Self::NoStates(name) => write!(
                f,
                "state set `{name}` needs an enum with `#[derive(LabelValue)]`, whose variants \
                 are its states"
            ),
            Self::Buckets { family, rule } => write!(f, "buckets of family `{family}` {rule}"),
            Self::BucketHelper { function, rule } => {
                write!(f, "the bounds of `buckets::{function}` {rule}")
            }
            Self::OtherBounds { family, first, new } => write!(
                f,
                "buckets of family `{family}` have to be equal in all series, got {new:?} after \
                 {first:?}"
            ),
            Self::Objectives { family, rule } => write!(f, "family `{family}`: {rule}"),
            Self::Window { family, rule } => write!(f, "family `{family}`: {rule}"),
            Self::Update {
                family,
                value,
                rule,
            } => fmt_update(f, family, *value, *rule),
            Self::ExemplarLength { limit, got } => write!(
                f,
                "the labels of an exemplar have at most {limit} characters, names and values \
                 together, got {got}"
            ),
            Self::TraceIdsSet => f.write_str(
                "the source of trace ids is already set; `trace_ids` can be called once per process",
            ),
            Self::SeriesLimit { family, limit } => write!(
                f,
                "family `{family}` has reached its limit of {limit} series; further label sets \
                 are counted in one overflow series, whose labels are all `__overflow__`; raise \
                 the limit with `.limit(..)`"
            ),
            Self::Message(message) => f.write_str(message),
            Self::CollectorFailed { name, why } => write!(f, "collector `{name}` {why}"),
            Self::SeriesTwice { family, labels } => write!(
                f,
                "series {{{labels}}} of family `{family}` was written twice in this scrape; each \
                 label set is written once"
            ),
            Self::IntervalQuantile => f.write_str(
                "the difference of two snapshots has no quantiles; use those of one snapshot, or \
                 give the summary a window (`max_age`)",
            ),
            Self::PageQuantile => f.write_str(
                "a summary that was read from a page has only the quantiles of that page; \
                 `exported` returns them",
            ),
            Self::MergePage(name) => write!(
                f,
                "summary `{name}` was read from a page: its quantiles cannot be merged without \
                 the observations behind them"
            ),
            Self::Merge {
                name,
                difference: Difference::Kind(ours, theirs),
            } => write!(
                f,
                "family `{name}` is {} {ours} here and {} {theirs} in the snapshot to merge",
                article(*ours),
                article(*theirs)
            ),
            Self::Merge { name, difference } => {
                write!(
                    f,
                    "family `{name}` has {} in the snapshot to merge",
                    difference.property()
                )?;
                difference.write_values(f, "here", "there")
            }
            Self::Page { line, column, what } => write!(f, "line {line}, column {column}: {what}"),
            #[cfg(any(feature = "serve", feature = "push", feature = "redis"))]
            Self::Setting { what, value, rule } => {
                write!(f, "{what} `{}` {rule}", value.escape_debug())
            }
            #[cfg(mapped)]
            Self::Share {
                action,
                path,
                cause,
            } => write!(f, "{action} `{}`: {cause}", path.escape_debug()),
            #[cfg(feature = "serve")]
            Self::Service(rule) => f.write_str(rule),
            #[cfg(feature = "serve")]
            Self::Listen { address, cause } => {
                write!(f, "cannot listen on `{}`: {cause}", address.escape_debug())?;
                // A Unix socket's path has a slash.
                if cause.kind() == std::io::ErrorKind::InvalidInput && !address.contains('/') {
                    f.write_str("; an address has a host and a port, such as `127.0.0.1:9464`")?;
                }
                Ok(())
            }
            #[cfg(feature = "tower")]
            Self::Serve { action, cause } => write!(f, "{action}: {cause}"),
            #[cfg(feature = "tls")]
            Self::File { what, path, cause } => {
                let path = path.display().to_string();
                write!(f, "cannot use {what} in `{}`: {cause}", path.escape_debug())
            }
            #[cfg(feature = "push")]
            Self::GroupLabel {
                family,
                label,
                value,
            } => write!(
                f,
                "family `{family}` has the label `{label}=\"{}\"`, which the group sets as well, \
                 and the gateway would overwrite it; rename the label, or remove it from the \
                 group",
                value.escape_debug()
            ),
            #[cfg(feature = "push")]
            Self::Push { action, url, cause } => write!(f, "{action} {url}: {cause}"),
            #[cfg(feature = "redis")]
            Self::Store {
                action,
                store,
                cause,
            } => write!(f, "{action} {store}: {cause}"),
            #[cfg(feature = "redis")]
            Self::StaleStore {
                store,
                age,
                limit,
                cause,
            } => match age {
                None => write!(f, "the store at {store} was never read: {cause}"),
                Some(age) => write!(
                    f,
                    "the store at {store} was last read {} s ago, and its last view is served for \
                     {} s: {cause}",
                    age.as_secs(),
                    limit.as_secs()
                ),
            },
            #[cfg(feature = "push")]
            Self::PushTimeout {
                method,
                url,
                timeout,
            } => write!(f, "{method} {url}: no response within {timeout:?}"),
            #[cfg(feature = "push")]
            Self::PushStatus {
                method,
                url,
                status,
                text,
            } => {
                let text = if text.is_empty() {
                    "no reason given"
                } else {
                    text
                };
                write!(f, "{method} {url}: {status}: {text}")
            }
        }
    }
}

fn fmt_name(
    f: &mut fmt::Formatter<'_>,
    subject: &Subject,
    name: &str,
    rule: NameRule,
) -> fmt::Result {
    write!(f, "{subject} `{}`", name.escape_debug())?;
    if let Subject::Label(family) | Subject::CollectedLabel(family) = subject {
        write!(f, " of family `{family}`")?;
    }
    write!(f, " {}", rule.predicate())?;
    match (subject, rule) {
        (Subject::Metric, NameRule::Metric) => f.write_str(", unless it is declared with `utf8`"),
        (Subject::Label(_), NameRule::Label) => {
            f.write_str(", unless its family is declared with `utf8`")
        }
        _ => Ok(()),
    }
}

fn fmt_update(
    f: &mut fmt::Formatter<'_>,
    family: &str,
    value: f64,
    rule: UpdateRule,
) -> fmt::Result {
    match rule {
        UpdateRule::NotANumber => write!(f, "family `{family}` cannot observe {value}"),
        UpdateRule::BothInfinities => write!(
            f,
            "family `{family}` cannot observe {value}, because it has observed an infinity of the \
             other sign: the sum would be NaN"
        ),
        UpdateRule::Increase => write!(
            f,
            "counter `{family}` can only grow, by a finite amount of 0 or more, got {value}"
        ),
        UpdateRule::Total => write!(
            f,
            "counter `{family}` needs a total of 0 or more, got {value}"
        ),
        UpdateRule::Sum => write!(
            f,
            "gauge histogram `{family}` needs a sum that is a number, got {value}"
        ),
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Metric | Self::Collected => "metric name",
            Self::Prefix => "prefix",
            Self::Label(_) | Self::CollectedLabel(_) => "label name",
            Self::Constant => "constant label",
            Self::Exemplar => "exemplar label",
        })
    }
}

/// Returns the method that registers a function for a metric of this kind.
fn function(kind: snapshot::Kind) -> &'static str {
    match kind {
        snapshot::Kind::Counter => "`counter_fn`",
        _ => "`gauge_fn`",
    }
}

/// Returns the indefinite article for the name of a kind.
fn article(kind: snapshot::Kind) -> &'static str {
    match kind {
        snapshot::Kind::Info => "an",
        _ => "a",
    }
}
