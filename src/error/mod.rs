//! The error type of the crate: a message, and what a caller can branch on. The message is written
//! where the error arises. It shows the offending value, the place, and what would be right.

mod rule;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};
#[cfg(mapped)]
use std::time::Duration;

#[cfg(mapped)]
use crate::sync::AllocatingGuard;
use crate::sync::{AllocatingMutex, leaf};

use tallies_names::{Printable, getters};

pub(crate) use rule::{NameRule, SettingRule, Subject, ValueRule};

/// An error: what went wrong, where, and what would be right.
///
/// ```
/// let registry = tallies::Registry::new();
/// let error = registry.counter("bad-name", "Not a metric name.").unwrap_err();
/// assert!(error.to_string().contains("bad-name"));
/// ```
///
/// Updates do not return it, but their `try_` variants do, and so do operations that run once, such
/// as registering a family or opening a socket.
///
/// The message includes the cause, for example that of the operating system. So `source()` returns
/// `None`: a reporter that walks the chain of sources would print the cause twice, and a log line
/// or a `main` that prints only the error would miss it. Callers that branch on the cause use
/// [`io_kind`](Self::io_kind). `Debug` prints the message as well, because `main` prints an error
/// that it returns with `Debug`.
pub struct Error(Box<(ErrorKind, String)>);

/// The cause of an error.
pub(crate) type Cause = Box<dyn std::error::Error + Send + Sync>;

/// The kinds of errors that a caller can branch on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    /// The name of a family or collector is taken.
    Taken,
    /// A name is invalid.
    Name,
    /// An update was rejected.
    Update,
    /// An update was rejected, because a name of its exemplar is invalid.
    ExemplarName,
    /// An operation on a socket, a file or a thread failed.
    Io(io::ErrorKind),
    Other,
}

impl ErrorKind {
    /// Creates an error of this kind, with a message in one line.
    #[cold]
    pub(crate) fn error(self, message: fmt::Arguments<'_>) -> Error {
        let message = Printable(&message.to_string()).to_string();
        Error(Box::new((self, message)))
    }
}

impl Error {
    /// Creates an error with this message, for crates that build on this one. A good message says
    /// what went wrong, where, and what would be right. It may have several lines; logs show it in
    /// one.
    ///
    /// ```
    /// let error = tallies::Error::new("the store has no shard 7; it has 0 to 3");
    /// assert!(error.to_string().ends_with("it has 0 to 3"));
    /// ```
    pub fn new(message: impl AsRef<str>) -> Self {
        let lines = message.as_ref().lines();
        let lines: Vec<_> = lines.map(|line| Printable(line).to_string()).collect();
        Self(Box::new((ErrorKind::Other, lines.join("\n"))))
    }

    /// Creates an error with a cause, for crates that build on this one. The message says what
    /// failed and where, the cause says why: both are shown. [`io_kind`](Self::io_kind) is that of
    /// the cause.
    ///
    /// ```
    /// let cause = std::io::Error::from(std::io::ErrorKind::TimedOut);
    /// let error = tallies::Error::with_cause("cannot read from 127.0.0.1:6379", cause);
    /// assert_eq!(error.to_string(), "cannot read from 127.0.0.1:6379: timed out");
    /// assert_eq!(error.io_kind(), Some(std::io::ErrorKind::TimedOut));
    /// ```
    #[cold]
    pub fn with_cause(message: impl AsRef<str>, cause: impl Into<Cause>) -> Self {
        let cause = cause.into();
        let mut error = Self::new(format!("{}: {cause}", message.as_ref()));
        let own = cause.downcast_ref::<Self>().and_then(Self::io_kind);
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if let Some(kind) = kind.or(own) {
            error.0.0 = ErrorKind::Io(kind);
        }
        error
    }

    /// Creates an error on which no caller branches, with a message in one line.
    #[cold]
    pub(crate) fn other(message: fmt::Arguments<'_>) -> Self {
        ErrorKind::Other.error(message)
    }

    /// Creates the error of an action that failed at a file, with its cause.
    #[cfg(any(all(feature = "serve", feature = "tls"), feature = "mmap"))]
    #[cold]
    pub(crate) fn of_file(action: &str, path: &std::path::Path, cause: impl Into<Cause>) -> Self {
        let path = path.display().to_string();
        Self::with_cause(format!("{action} `{}`", path.escape_debug()), cause)
    }

    /// Puts a place before the message, such as the line of a file, for crates that build on this
    /// one. Everything else stays.
    ///
    /// ```
    /// let registry = tallies::Registry::new();
    /// let error = registry.counter("a-b", "").unwrap_err().at("metrics.yml, line 3");
    /// assert!(error.to_string().starts_with("metrics.yml, line 3: "));
    /// assert!(error.is_invalid_name());
    /// ```
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        let place = place.to_string();
        self.0.1 = format!("{}: {}", Printable(&place), self.0.1);
        self
    }

    /// Logs this error as a warning, for crates that build on this one, when no call can return it.
    /// A program without a logger of the `log` crate reads it on standard error.
    ///
    /// ```
    /// tallies::Error::new("the store is reached again; 3 tries failed").log();
    /// ```
    pub fn log(&self) {
        warn(self);
    }

    /// Creates the error of a setting with a value that breaks a rule.
    #[cfg(any(feature = "serve", feature = "push"))]
    #[cold]
    pub(crate) fn setting(what: &str, value: &str, rule: &str) -> Self {
        Self::other(format_args!("{what} `{}` {rule}", value.escape_debug()))
    }

    /// Logs this error as a warning, unless this process has logged the same message before. For
    /// crates that build on this one, when no call can return it. A program without a logger of the
    /// `log` crate reads it on standard error.
    ///
    /// ```
    /// tallies::Error::new("the store is full; new series are not shared").log_once();
    /// ```
    pub fn log_once(&self) {
        warn_once(self);
    }

    getters! {
        /// Returns whether the name of a family or collector is taken: by another one of the
        /// registry, or by one that would expose the same samples.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// registry.counter("jobs_total", "Jobs done.")?;
        /// let error = registry.gauge("jobs_total", "Jobs done.").unwrap_err();
        /// assert!(error.is_already_registered());
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn is_already_registered(&self) -> bool = self.0.0 == ErrorKind::Taken;

        /// Returns whether the name of a metric or label is invalid: outside the grammar, reserved,
        /// or given twice.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let error = registry.counter("jobs-total", "Jobs done.").unwrap_err();
        /// assert!(error.is_invalid_name());
        /// ```
        fn is_invalid_name(&self) -> bool =
            matches!(self.0.0, ErrorKind::Name | ErrorKind::ExemplarName);

        /// Returns whether an update was rejected because of its value or its exemplar. Such an
        /// update changes nothing, and `tallies_rejected_updates_total` counts it.
        ///
        /// ```
        /// let registry = tallies::Registry::new();
        /// let waits = registry.histogram("wait_seconds", "Time in the queue.")?;
        /// let error = waits.try_observe(f64::NAN).unwrap_err();
        /// assert!(error.is_rejected_update());
        /// # Ok::<(), tallies::Error>(())
        /// ```
        fn is_rejected_update(&self) -> bool =
            matches!(self.0.0, ErrorKind::Update | ErrorKind::ExemplarName);

        /// Returns whether an operation on a socket, a file or a thread failed.
        /// [`io_kind`](Self::io_kind) tells how.
        ///
        /// ```
        /// # #[cfg(feature = "serve")]
        /// # fn main() {
        /// let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        /// let address = taken.local_addr().unwrap();
        /// let error = tallies::serve::Server::new().listen(address).unwrap_err();
        /// assert!(error.is_io());
        /// # }
        /// # #[cfg(not(feature = "serve"))]
        /// # fn main() {}
        /// ```
        fn is_io(&self) -> bool = self.io_kind().is_some();
    }

    /// Returns how an operation on a socket, a file or a thread failed, or `None` for other errors.
    ///
    /// ```
    /// # #[cfg(feature = "serve")]
    /// # fn main() {
    /// let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    /// let address = taken.local_addr().unwrap();
    /// let error = tallies::serve::Server::new().listen(address).unwrap_err();
    /// assert_eq!(error.io_kind(), Some(std::io::ErrorKind::AddrInUse));
    /// # }
    /// # #[cfg(not(feature = "serve"))]
    /// # fn main() {}
    /// ```
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self.0.0 {
            ErrorKind::Io(kind) => Some(kind),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.1)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Same text as `Display`, because `main` prints an error that it returns with `Debug`.
        write!(f, "{self}")
    }
}

impl std::error::Error for Error {}

/// Logs a warning in one line: something that the user has to know although no call returns it. The
/// caller holds no lock that an update takes, because a logger is user code and may count. It does
/// not log the same warning at every retry.
///
/// The warning goes to the logger of the `log` crate, or to standard error if the maximum level is
/// `Off`: in a program without a logger, or with all levels off.
pub(crate) fn warn(what: &dyn fmt::Display) {
    let what = what.to_string();
    let what = Printable(&what);
    if log::max_level() == log::LevelFilter::Off {
        let line = format!("tallies: {what}\n");
        let _writing = WRITING.lock_unless_held();
        // With `eprint!`, because tests capture what it writes.
        eprint!("{}", Unfailing(&line));
    } else {
        log::warn!(target: "tallies", "{what}");
    }
}

/// Held by the thread that writes to standard error. It may wait for whoever reads that, or for
/// another thread of the program, so nothing waits for it but other warnings.
static WRITING: AllocatingMutex<()> = AllocatingMutex::new(());

/// Keeps other threads from writing warnings while the result lives, around a `fork`: a child whose
/// parent had a thread in the middle of one could not write to standard error. Gives up after a
/// tenth of a second.
#[cfg(mapped)]
pub(crate) fn no_warnings() -> Option<AllocatingGuard<'static, ()>> {
    for _ in 0..100 {
        if let Some(writing) = WRITING.try_lock() {
            return Some(writing);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// A text that is written without an error, even if nothing can be written: `eprint!` panics if
/// standard error is closed.
struct Unfailing<'a>(&'a str);

impl fmt::Display for Unfailing<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let _ = f.write_str(self.0);
        Ok(())
    }
}

/// Calls [`warn()`] the first time that it gets this message.
pub(crate) fn warn_once(what: &dyn fmt::Display) {
    if is_first(what) {
        warn(what);
    }
}

/// Returns whether this message was not given here before, and remembers it.
pub(crate) fn is_first(what: &dyn fmt::Display) -> bool {
    static GIVEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let what = what.to_string();
    let _leaf = leaf();
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    given.insert(what)
}
