//! The store of mapped files: a directory with one file per process.

#[allow(unused_imports, reason = "the reader uses all of it")]
pub(crate) use crate::mapped::format;
