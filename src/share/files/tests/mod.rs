//! Tests with files that are built word by word, without a writer.

mod fold;
mod hostile;
mod image;
mod kinds;
mod schedules;

pub(super) use fold::step;
