//! Tests with files that are built word by word, without a writer.

mod between;
mod fold;
mod gauges;
// It needs a reader of pages, and a golden file: the published archive has neither.
#[cfg(reader)]
mod hostile;
mod image;
mod kinds;
mod schedules;

pub(super) use between::between;
pub(super) use fold::step;
