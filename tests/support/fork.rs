//! A child of `fork` that says whether something holds in it.

#![allow(unsafe_code, reason = "fork is")]

/// Forks, and asserts that `holds` in the child, within a minute. The child runs nothing else, and
/// the parent drops nothing of what the closure has.
#[track_caller]
pub fn holds_in_a_child(holds: impl FnOnce() -> bool) {
    // SAFETY: the child runs only the code below. The alarm ends a child that waits.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: no memory is involved.
        unsafe { libc::alarm(60) };
        let status = i32::from(!holds());
        // SAFETY: ends this process without further effects.
        unsafe { libc::_exit(status) };
    }
    std::mem::forget(holds);
    let mut status = 0;
    // SAFETY: `child` is a child of this process, and `status` is a valid pointer.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
}
