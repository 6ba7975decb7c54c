//! Constructors of modules that become crates.
#![allow(dead_code, reason = "until they are")]

use std::io;
use std::path::Path;

use super::{Error, Kind, NameRule, Subject};

type Cause = Box<dyn std::error::Error + Send + Sync>;

fn join(texts: impl Iterator<Item = String>) -> String {
    texts.collect::<Vec<_>>().join(", ")
}

fn kind_of(cause: &Cause) -> Kind {
    match cause.downcast_ref::<io::Error>() {
        Some(cause) => Kind::Io(cause.kind()),
        None => Kind::Other,
    }
}

impl Error {
    pub(crate) fn name(name: &str, rule: NameRule) -> Self {
        rule.error(Subject::Metric, name)
    }

    pub(crate) fn label_name(family: &str, label: &str, rule: NameRule) -> Self {
        rule.error(Subject::Label(family), label)
    }

    pub(crate) fn overflow(family: &str, limit: usize) -> Self {
        Self::other(format_args!(
            "family `{family}` has reached its limit of {limit} series; further label sets are \
             counted in one overflow series, whose labels are all `__overflow__`; raise the limit \
             with `.limit(..)`"
        ))
    }

    pub(crate) fn metric_type(name: &str) -> Self {
        Self::other(format_args!(
            "Invalid type for {}: must be one of counter, enum, gauge, histogram, info, summary",
            name.escape_debug()
        ))
    }

    pub(crate) fn no_states_given(name: &str) -> Self {
        Self::other(format_args!(
            "No states provided for Enum metric: {}",
            name.escape_debug()
        ))
    }

    pub(crate) fn metric_twice(name: &str) -> Self {
        Self::other(format_args!(
            "metric `{}` is given twice; remove or rename one of them",
            name.escape_debug()
        ))
    }

    pub(crate) fn metric_setting(family: &str, key: &str, value: &str, rule: &str) -> Self {
        Self::other(format_args!(
            "`{key}` of metric `{}` {rule}, got {value}",
            family.escape_debug()
        ))
    }

    pub(crate) fn not_created(name: &str) -> Self {
        Self::other(format_args!(
            "no metric `{}` was created from a configuration",
            name.escape_debug()
        ))
    }

    pub(crate) fn other_update(family: &str, kind: &str, update: &str) -> Self {
        Self::other(format_args!(
            "metric `{family}` is of type {kind}, which has no `{update}`"
        ))
    }

    pub(crate) fn no_state(family: &str, state: &str, states: &[Box<str>]) -> Self {
        Self::other(format_args!(
            "metric `{family}` has no state `{}`; its states are {}",
            state.escape_debug(),
            join(states.iter().map(|state| format!("`{state}`")))
        ))
    }

    /// An error at a place in a file or text. Lines and columns count from 1.
    #[cfg(feature = "config-files")]
    pub(crate) fn at(file: Option<&str>, (line, column): (usize, usize), cause: Self) -> Self {
        let file = file.map_or(String::new(), |file| format!("{}, ", file.escape_debug()));
        let (kind, cause) = *cause.0;
        kind.error(format_args!("{file}line {line}, column {column}: {cause}"))
    }

    #[cfg(feature = "config-files")]
    pub(crate) fn document(what: impl Into<Box<str>>) -> Self {
        Self::other(format_args!("{}", what.into()))
    }

    #[cfg(feature = "config-files")]
    pub(crate) fn unreadable(path: &Path, cause: io::Error) -> Self {
        let path = path.display().to_string();
        let message = format_args!("cannot read `{}`: {cause}", path.escape_debug());
        Self::io(&cause, message)
    }

    pub(crate) fn serve(action: &str, cause: io::Error) -> Self {
        Self::io(&cause, format_args!("{action}: {cause}"))
    }

    pub(crate) fn share(action: &str, path: &Path, cause: io::Error) -> Self {
        let path = path.to_string_lossy();
        let message = format_args!("{action} `{}`: {cause}", path.escape_debug());
        Self::io(&cause, message)
    }

    pub(crate) fn bind(address: &str, cause: io::Error) -> Self {
        // A Unix socket's path has a slash.
        let is_name = cause.kind() == io::ErrorKind::InvalidInput && !address.contains('/');
        let hint = match is_name {
            true => "; an address has a host and a port, such as `127.0.0.1:9464`",
            false => "",
        };
        let address = address.escape_debug();
        let message = format_args!("cannot listen on `{address}`: {cause}{hint}");
        Self::io(&cause, message)
    }

    pub(crate) fn service(rule: &str) -> Self {
        Self::other(format_args!("{rule}"))
    }

    /// A file of the service that cannot be used.
    pub(crate) fn file(what: &str, path: &Path, cause: impl Into<Cause>) -> Self {
        let (path, cause) = (path.display().to_string(), cause.into());
        let path = path.escape_debug();
        kind_of(&cause).error(format_args!("cannot use {what} in `{path}`: {cause}"))
    }
}
