//! The service and the pushes over real sockets, before clients that behave and clients that do
//! not; and the examples as programs.

mod addresses;
mod blocks;
mod commands;
#[path = "../../support/events.rs"]
mod events;
mod frameworks;
#[path = "../../support/gateway.rs"]
mod gateway;
mod hostile;
mod live;
mod negotiation;
#[cfg(target_os = "linux")]
#[path = "../../support/peers.rs"]
mod peers;
mod push;
mod secrets;
mod serve;
#[path = "../../support/mod.rs"]
mod support;
