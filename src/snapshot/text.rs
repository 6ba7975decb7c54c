//! Names, help texts and units. The texts of a `static` are borrowed from the program. Texts made
//! at run time are shared, and freed with the last family and snapshot that uses them.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A name, a help text or a unit.
#[derive(Clone)]
pub(crate) enum Text {
    Static(&'static str),
    Owned(Arc<str>),
}

impl Text {
    pub(crate) const EMPTY: Self = Self::Static("");

    /// Replaces the text. A `const fn` cannot drop the old text, so it is forgotten. The old text
    /// belongs to a `static`, so there is nothing to drop.
    pub(crate) const fn set(&mut self, text: &'static str) {
        std::mem::forget(std::mem::replace(self, Self::Static(text)));
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Deref for Text {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            Self::Static(text) => text,
            Self::Owned(text) => text,
        }
    }
}

impl Borrow<str> for Text {
    fn borrow(&self) -> &str {
        self
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        // A snapshot that is used again has the texts of its families: no cache line is read.
        std::ptr::eq(&**self, &**other) || **self == **other
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (**self).hash(state);
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl<S: AsRef<str>> From<S> for Text {
    fn from(text: S) -> Self {
        match text.as_ref() {
            "" => Self::EMPTY,
            text => Self::Owned(text.into()),
        }
    }
}
