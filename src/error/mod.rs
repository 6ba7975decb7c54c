//! The only error type of the crate. Its kind holds data, from which the message is rendered: the
//! offending value, the location, and what would be right.

mod constructors;
mod kind;
mod message;
mod printable;
mod rule;

use std::fmt;

pub(crate) use kind::Subject;
#[cfg(feature = "push")]
pub(crate) use printable::is_printable;
pub(crate) use printable::printable;
pub(crate) use rule::{BucketRule, Difference, NameRule, UpdateRule, WindowRule};

use kind::Kind;

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
    /// Creates an error with this message, for crates that build on this one. A good message says what
    /// went wrong, where, and what would be right.
    ///
    /// ```
    /// let error = tallies::Error::new("the store has no shard 7; it has 0 to 3");
    /// assert!(error.to_string().ends_with("it has 0 to 3"));
    /// ```
    pub fn new(message: impl Into<Box<str>>) -> Self {
        Self::from(Kind::Message(message.into()))
    }

    /// Logs this error as a warning, the first time that this process has it: for crates that build on
    /// this one, when no call can return it. A program without a logger of the `log` crate reads it on
    /// standard error.
    ///
    /// ```
    /// tallies::Error::new("the store is full; new series are not shared").log_once();
    /// ```
    pub fn log_once(&self) {
        warn_once(self);
    }

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
            *self.cause().0,
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
        matches!(
            *self.cause().0,
            Kind::Name { .. } | Kind::EscapedLabels { .. }
        )
    }

    /// Returns the error without its place in a file.
    fn cause(&self) -> &Self {
        match &*self.0 {
            #[cfg(feature = "config-files")]
            Kind::At { cause, .. } => cause.cause(),
            _ => self,
        }
    }

    /// Returns whether an update was rejected because of its value or its exemplar. Such an update
    /// changes nothing, and `tallies_rejected_updates_total` counts it.
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

    /// Returns whether an operation on a socket, a file or a thread failed.
    /// [`io_kind`](Self::io_kind) tells how.
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
            #[cfg(mapped)]
            Kind::Share { cause, .. } => Some(cause.kind()),
            #[cfg(feature = "serve")]
            Kind::Listen { cause, .. } => Some(cause.kind()),
            #[cfg(feature = "tower")]
            Kind::Serve { cause, .. } => Some(cause.kind()),
            #[cfg(feature = "tls")]
            Kind::File { cause, .. } => kind_of(&**cause),
            #[cfg(feature = "config-files")]
            Kind::Unreadable { cause, .. } => Some(cause.kind()),
            #[cfg(feature = "config-files")]
            Kind::At { cause, .. } => cause.io_kind(),
            #[cfg(feature = "push")]
            Kind::Push { cause, .. } => kind_of(&**cause),
            #[cfg(feature = "push")]
            Kind::PushTimeout { .. } => Some(std::io::ErrorKind::TimedOut),
            #[cfg(feature = "redis")]
            Kind::Store { cause, .. } => {
                Some(kind_of(&**cause).unwrap_or(std::io::ErrorKind::Other))
            }
            _ => None,
        }
    }
}

/// Returns the kind of an error of the operating system.
#[cfg(any(feature = "tls", feature = "push", feature = "redis"))]
fn kind_of(cause: &(dyn std::error::Error + 'static)) -> Option<std::io::ErrorKind> {
    cause
        .downcast_ref::<std::io::Error>()
        .map(std::io::Error::kind)
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Self {
        Self(Box::new(kind))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let lines = match *self.0 {
            // The only kind whose message can have several lines.
            Kind::Message(_) => text.lines().collect(),
            _ => vec![&*text],
        };
        for (i, line) in lines.into_iter().enumerate() {
            let end = if i == 0 { "" } else { "\n" };
            write!(f, "{end}{}", printable(line))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Same text as `Display`, because `main` prints an error that it returns with `Debug`.
        write!(f, "{self}")
    }
}

impl std::error::Error for Error {}

/// Logs a warning: something that the user has to know although no call returns it. The caller makes
/// sure that each cause is logged once, and holds no lock.
///
/// The warning goes to the logger of the `log` crate. A program without one has no maximum level;
/// there it goes to standard error.
pub(crate) fn warn(what: &dyn fmt::Display) {
    let what = what.to_string();
    let what = printable(&what);
    if log::max_level() == log::LevelFilter::Off {
        // With `eprint!`, because tests capture what it writes.
        eprint!("{}", Unfailing(&format!("tallies: {what}\n")));
    } else {
        log::warn!(target: "tallies", "{what}");
    }
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
    static GIVEN: std::sync::Mutex<std::collections::BTreeSet<String>> =
        std::sync::Mutex::new(std::collections::BTreeSet::new());
    let given = GIVEN.lock();
    let mut given = given.unwrap_or_else(std::sync::PoisonError::into_inner);
    given.insert(what.to_string())
}
