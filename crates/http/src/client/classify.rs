//! The kinds of errors: the classifiers of the program, and those of common error types.

use std::any::Any;
use std::error::Error as StdError;
use std::io;
use std::sync::Arc;

use crate::exchange::FailureKind;

/// Classifies an error. Returns `None` for an error of another type.
pub(super) type Classifier = dyn Fn(&dyn Any) -> Option<FailureKind> + Send + Sync;

/// The error classifiers of the program. `None` if there are none, which is common: calls then
/// clone no `Arc`.
#[derive(Clone, Default)]
pub(super) struct Classifiers(Option<Arc<Vec<Arc<Classifier>>>>);

impl std::fmt::Debug for Classifiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let classifiers = self.0.as_ref().map_or(0, |classifiers| classifiers.len());
        f.debug_tuple("Classifiers").field(&classifiers).finish()
    }
}

impl Classifiers {
    pub(super) fn add(&mut self, classifier: Arc<Classifier>) {
        Arc::make_mut(self.0.get_or_insert_default()).push(classifier);
    }

    pub(super) fn of(&self, error: &dyn Any) -> FailureKind {
        let known = self.0.iter().flat_map(|classifiers| classifiers.iter());
        if let Some(kind) = known.into_iter().find_map(|kind| kind(error)) {
            return kind;
        }
        let boxed = error.downcast_ref::<Box<dyn StdError + Send + Sync>>();
        let known = boxed.map(|error| &**error as &(dyn StdError + 'static));
        let known = known.or(error.downcast_ref::<io::Error>().map(|error| error as _));
        #[cfg(feature = "reqwest")]
        let known = known.or(error
            .downcast_ref::<::reqwest::Error>()
            .map(|error| error as _));
        known.map_or(FailureKind::Error, FailureKind::of)
    }
}

impl FailureKind {
    /// Classifies `error` by its own type and by those of its sources. Recognizes I/O errors,
    /// errors of `reqwest`, and the timeout errors of tower and tokio.
    ///
    /// ```
    /// use tallies_http::FailureKind;
    ///
    /// let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    /// assert_eq!(FailureKind::of(&refused), FailureKind::Connect);
    /// assert_eq!(FailureKind::of(&std::fmt::Error), FailureKind::Error);
    /// ```
    #[must_use]
    pub fn of(error: &(dyn StdError + 'static)) -> Self {
        let errors = std::iter::successors(Some(error), |&error| error.source());
        // Errors have few sources. The bound ends the search if they form a cycle.
        errors.take(16).find_map(classify).unwrap_or(Self::Error)
    }
}

fn classify(error: &(dyn StdError + 'static)) -> Option<FailureKind> {
    #[cfg(feature = "reqwest")]
    if let Some(kind) = error.downcast_ref().and_then(crate::reqwest::kind) {
        return Some(kind);
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return match error.kind() {
            io::ErrorKind::TimedOut => Some(FailureKind::Timeout),
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::AddrNotAvailable => Some(FailureKind::Connect),
            _ => None,
        };
    }
    // The timeout errors of tower and tokio. Comparing their texts avoids a dependency on both
    // crates.
    match &*error.to_string() {
        "request timed out" | "deadline has elapsed" => Some(FailureKind::Timeout),
        _ => None,
    }
}
