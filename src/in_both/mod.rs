//! Traits of metrics and results, and methods that only call others, for both forms of the crate:
//! with its engine and without. The files name metrics by their public paths, which lead to
//! `declare` or to `off`.

pub(crate) mod collect;
pub(crate) mod gauge_value;
mod guards;
pub(crate) mod measure;
mod registry;
mod roles;
