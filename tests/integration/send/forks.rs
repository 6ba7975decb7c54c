//! A sender in the child of a fork.

#![allow(unsafe_code, reason = "fork is")]

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
    // SAFETY: the child runs only the code below. The alarm ends a child that waits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: no memory is involved.
        unsafe { libc::alarm(30) };
        drop(dropped);
        let error = stopped.stop().unwrap_err().to_string();
        let is_right = error.contains("it was started before a fork");
        // SAFETY: ends this process without further effects.
        unsafe { libc::_exit(i32::from(!is_right)) };
    }
    let mut status = 0;
    // SAFETY: `child` is a child of this process, and `status` is a valid pointer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    std::mem::forget((stopped, dropped));
}
