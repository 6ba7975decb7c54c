//! Errors. The crate itself makes none without the engine, but libraries and collectors do.

use std::{fmt, io};

// The kind of the cause, and the message, as with the engine.
pub struct Error((Option<io::ErrorKind>, String));

impl Error {
    pub fn new(message: impl AsRef<str>) -> Self {
        Self((None, message.as_ref().to_owned()))
    }

    pub fn with_cause(
        message: impl AsRef<str>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let cause = cause.into();
        let own = cause.downcast_ref::<Self>().and_then(Self::io_kind);
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        Self((kind.or(own), format!("{}: {cause}", message.as_ref())))
    }

    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.1 = format!("{place}: {}", self.0.1);
        self
    }

    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        self.0.0
    }

    #[must_use]
    pub fn is_io(&self) -> bool {
        self.0.0.is_some()
    }

    super::idle! { []
        is_already_registered() -> bool = false;
        is_invalid_name() -> bool = false;
        is_rejected_update() -> bool = false;
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.1)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl std::error::Error for Error {}
