//! The only error type of the crate: opaque, with a message that names the offending value, the
//! location, and what would be right.

use std::fmt;
use std::panic::Location;

use crate::snapshot::Kind;

type Source = Box<dyn std::error::Error + Send + Sync>;

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
pub struct Error {
    message: Box<str>,
    source: Option<Source>,
}

impl Error {
    fn new(message: impl Into<Box<str>>) -> Self {
        Self {
            message: message.into(),
            source: None,
        }
    }

    pub(crate) fn name(name: &str, why: &str) -> Self {
        Self::new(format!("metric name `{}` {why}", name.escape_debug()))
    }

    pub(crate) fn label_name(family: &str, label: &str, why: &str) -> Self {
        Self::new(format!(
            "label name `{}` of family `{family}` {why}",
            label.escape_debug()
        ))
    }

    pub(crate) fn same_label(family: &str, label: &str, other: &str, escaped: &str) -> Self {
        Self::new(format!(
            "labels `{label}` and `{other}` of family `{family}` are both `{escaped}` to a reader without UTF-8 names: \
             call one of them differently"
        ))
    }

    pub(crate) fn buckets(family: &str, why: &str) -> Self {
        Self::new(format!("buckets of family `{family}` {why}"))
    }

    pub(crate) fn family(family: &str, why: &impl fmt::Display) -> Self {
        Self::new(format!("family `{family}`: {why}"))
    }

    pub(crate) fn bucket_helper(why: &str) -> Self {
        Self::new(format!("bucket bounds: {why}"))
    }

    pub(crate) fn taken(name: &str, other: &str, at: Option<&Location<'_>>) -> Self {
        let place = at.map_or_else(|| "at scrape time".to_owned(), |at| format!("at {at}"));
        if name == other {
            Self::new(format!(
                "a family `{name}` is already registered, {place}; \
                 use `get_or_register` to share one"
            ))
        } else {
            Self::new(format!(
                "family `{name}` would expose the same samples as `{other}`, registered {place}: suffixes such as `_total` \
                 and `_sum` count, and so does what escaping makes of a UTF-8 name; call one of them differently"
            ))
        }
    }

    pub(crate) fn not_equal(name: &str, at: &Location<'_>, first: &Location<'_>) -> Self {
        Self::new(format!(
            "family `{name}`, declared at {at}, is not exported, as another one is declared at {first}: a static shares a \
             family with an equal one, help text included; else call one of them differently"
        ))
    }

    #[cfg(any(feature = "tower", feature = "push"))]
    pub(crate) fn beside(name: &str, other: &str) -> Self {
        Self::new(format!(
            "family `{name}` would expose the same samples as `{other}` of another registry on the page: suffixes such as \
             `_total` and `_sum` count, and so does what escaping makes of a UTF-8 name; call one of them differently"
        ))
    }

    pub(crate) fn absent(name: &str) -> Self {
        Self::new(format!("no family `{name}` is registered here"))
    }

    pub(crate) fn other_type(name: &str, at: Option<&Location<'_>>) -> Self {
        let place = at.map_or_else(String::new, |at| format!(" at {at}"));
        Self::new(format!(
            "family `{name}` was registered{place} with another kind, other labels, buckets, objectives or another window"
        ))
    }

    pub(crate) fn labels(family: &str, why: &str) -> Self {
        Self::new(format!("family `{family}` {why}"))
    }

    pub(crate) fn overflow(family: &str, limit: usize) -> Self {
        Self::new(format!(
            "family `{family}` has reached its limit of {limit} series: \
             further label sets count in one series, every label `__overflow__`"
        ))
    }

    pub(crate) fn constants_too_late(name: &str) -> Self {
        Self::new(format!(
            "constant label `{name}`: constant labels are given at start-up, before the first scrape"
        ))
    }

    pub(crate) fn prefix_too_late(prefix: &str) -> Self {
        Self::new(format!(
            "prefix `{prefix}`: a prefix is given at start-up, before the first scrape"
        ))
    }

    pub(crate) fn update(family: &str, value: f64, why: &str) -> Self {
        Self::new(format!("family `{family}` {why}, got {value}"))
    }

    pub(crate) fn trace_ids_taken() -> Self {
        Self::new("where trace ids come from was said before: it is said once, for the process")
    }

    pub(crate) fn exemplar(why: &str) -> Self {
        Self::new(format!("labels of an exemplar: {why}"))
    }

    pub(crate) fn interval() -> Self {
        Self::new(
            "quantiles of an interval are not known: ask a snapshot, or a summary with a window",
        )
    }

    pub(crate) fn written() -> Self {
        Self::new(
            "a summary that was read has no other quantiles than those of its page: see `exported`",
        )
    }

    pub(crate) fn merge_written(name: &str) -> Self {
        Self::new(format!(
            "summary `{name}` was read from a page: its quantiles cannot be merged without the observations behind them"
        ))
    }

    /// An error in a page that is not a valid exposition. Lines and columns count from 1.
    pub(crate) fn read(line: usize, column: usize, what: &str) -> Self {
        Self::new(format!("line {line}, column {column}: {what}"))
    }

    pub(crate) fn merge(name: &str, ours: Kind, theirs: Kind) -> Self {
        Self::new(if ours == theirs {
            format!(
                "family `{name}` has other buckets, objectives or another window in the snapshot to merge"
            )
        } else {
            format!("family `{name}` is a {ours} here and a {theirs} in the snapshot to merge")
        })
    }

    #[cfg(feature = "facade")]
    pub(crate) fn too_many_names(limit: usize) -> Self {
        Self::new(format!(
            "the facade has {limit} names, which is its limit: further ones record nothing; label values say what differs, \
             and `limit_names` is for programs that have as many"
        ))
    }

    pub(crate) fn collect(name: &str, why: &str) -> Self {
        Self::new(format!("collector `{name}` {why}"))
    }

    #[cfg(feature = "serve")]
    pub(crate) fn bind(address: &str, source: std::io::Error) -> Self {
        Self {
            message: format!("cannot listen on `{}`", address.escape_debug()).into(),
            source: Some(Box::new(source)),
        }
    }

    #[cfg(feature = "serve")]
    pub(crate) fn serve(why: &str, source: std::io::Error) -> Self {
        Self {
            message: why.into(),
            source: Some(Box::new(source)),
        }
    }

    /// A configuration of the service that makes no sense.
    #[cfg(feature = "serve")]
    pub(crate) fn service(why: &str) -> Self {
        Self::new(why)
    }

    /// A file in the configuration of the service that cannot be used.
    #[cfg(feature = "tls")]
    pub(crate) fn file(what: &str, path: &std::path::Path, source: impl Into<Source>) -> Self {
        Self {
            message: format!(
                "cannot use {what} in `{}`",
                path.display().to_string().escape_debug()
            )
            .into(),
            source: Some(source.into()),
        }
    }

    #[cfg(feature = "middleware")]
    pub(crate) fn template(template: &str, why: &str) -> Self {
        Self::new(format!("path template `{}` {why}", template.escape_debug()))
    }

    #[cfg(feature = "serve")]
    pub(crate) fn path(path: &str, why: &str) -> Self {
        Self::new(format!("metrics path `{}` {why}", path.escape_debug()))
    }

    #[cfg(feature = "facade")]
    pub(crate) fn recorder_taken() -> Self {
        Self::new(
            "another recorder of the `metrics` facade is installed already: a program has one, installed first thing in `main`",
        )
    }

    #[cfg(feature = "push")]
    pub(crate) fn push_to(what: &str, value: &str, why: &str) -> Self {
        Self::new(format!("{what} `{}` {why}", value.escape_debug()))
    }

    #[cfg(feature = "push")]
    pub(crate) fn pushed_label(family: &str, label: &str, value: &str) -> Self {
        Self::new(format!(
            "family `{family}` has the label `{label}=\"{}\"`, which the group sets: \
             the gateway would overwrite it; rename it, or leave it to the group",
            value.escape_debug()
        ))
    }

    #[cfg(feature = "push")]
    pub(crate) fn push_failed(method: &str, url: &str, source: impl Into<Source>) -> Self {
        Self {
            message: format!("{method} {url}").into(),
            source: Some(source.into()),
        }
    }

    #[cfg(feature = "push")]
    pub(crate) fn push_refused(method: &str, url: &str, status: &str, words: &str) -> Self {
        let words = if words.is_empty() {
            "no reason given"
        } else {
            words
        };
        Self::new(format!("{method} {url}: {status}: {words}"))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Same text as `Display`, because `main` prints an error that it returns with `Debug`.
        write!(f, "{self}")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.source {
            Some(source) => Some(&**source),
            None => None,
        }
    }
}

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
