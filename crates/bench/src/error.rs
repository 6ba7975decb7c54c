//! The error of this crate.

use std::fmt;

/// The reason why a measurement could not be made or written.
///
/// ```
/// fn print(error: &tallies_bench::Error) {
///     eprintln!("{error}");
///     assert!(error.is_setting() || !error.is_setting());
/// }
/// ```
#[derive(Debug)]
pub struct Error(Kind);

#[derive(Debug)]
enum Kind {
    /// A setting that cannot be used: where, the value, what would be right.
    Setting(String),
    /// Data that cannot be read or joined.
    Data(String),
    /// The metrics could not be registered.
    Registry(tallies::Error),
    /// Writing failed, or a thread could not be started.
    Io(std::io::Error),
    /// The work failed from the start.
    Target(String),
}

impl Error {
    pub(crate) fn setting(text: impl Into<String>) -> Self {
        Self(Kind::Setting(text.into()))
    }

    pub(crate) fn data(text: impl Into<String>) -> Self {
        Self(Kind::Data(text.into()))
    }

    pub(crate) fn target(text: impl Into<String>) -> Self {
        Self(Kind::Target(text.into()))
    }

    /// Returns whether a registry has these metrics.
    pub(crate) fn is_already_registered(&self) -> bool {
        matches!(&self.0, Kind::Registry(error) if error.is_already_registered())
    }

    /// Returns whether a setting is invalid, such as a rate of zero. The same call fails again.
    #[must_use]
    pub fn is_setting(&self) -> bool {
        matches!(self.0, Kind::Setting(_))
    }

    /// Returns whether data cannot be read or joined, such as two recordings with different
    /// buckets.
    #[must_use]
    pub fn is_data(&self) -> bool {
        matches!(self.0, Kind::Data(_))
    }

    /// Returns whether the operating system refused something: a file, a socket or a thread.
    #[must_use]
    pub fn is_io(&self) -> bool {
        matches!(self.0, Kind::Io(_))
    }

    /// Returns whether the work failed from the start, such as a server that refuses connections.
    #[must_use]
    pub fn is_target(&self) -> bool {
        matches!(self.0, Kind::Target(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Setting(text) | Kind::Data(text) | Kind::Target(text) => f.write_str(text),
            Kind::Registry(_) => f.write_str("the metrics of the measurement were rejected"),
            Kind::Io(_) => f.write_str("the operating system refused"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0 {
            Kind::Registry(error) => Some(error),
            Kind::Io(error) => Some(error),
            Kind::Setting(_) | Kind::Data(_) | Kind::Target(_) => None,
        }
    }
}

impl From<tallies::Error> for Error {
    fn from(error: tallies::Error) -> Self {
        Self(Kind::Registry(error))
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self(Kind::Io(error))
    }
}
