//! A sender in the child of a fork.

#[path = "../../support/fork.rs"]
mod fork;

use tallies::Registry;
use tallies_send::{Otlp, Sender};

use crate::LONG;

/// The handle waited in the child for a thread of its parent, and blamed the receiver.
#[test]
fn a_child_does_not_wait_for_the_sender_of_its_parent() {
    // Nobody answers.
    let receiver = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", receiver.local_addr().unwrap());
    let start = || {
        let sender = Sender::new(&url, Otlp::new()).registry(&Registry::new());
        sender.interval(LONG).timeout(LONG).start().unwrap()
    };
    let (stopped, dropped) = (start(), start());
    fork::holds_in_a_child(move || {
        drop(dropped);
        let error = stopped.stop().unwrap_err().to_string();
        error.contains("it was started before a fork")
    });
}
