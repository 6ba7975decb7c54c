//! Pages and snapshots in every format, by every way that metrics come in, and what others make of
//! them.

#[path = "../../support/client_model.rs"]
#[allow(dead_code, reason = "each test uses some of it")]
mod client_model;
mod exemplars;
mod facade;
mod formats;
#[path = "../../support/kinds.rs"]
mod kinds;
mod migration;
mod native;
mod places;
mod serialize;
#[path = "../../support/mod.rs"]
mod support;
