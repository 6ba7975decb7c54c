//! Hooks around `fork`.

use std::sync::Once;

unsafe extern "C" {
    safe fn pthread_atfork(
        before: extern "C" fn(),
        in_parent: extern "C" fn(),
        in_child: extern "C" fn(),
    ) -> i32;
}

/// Runs these functions around each `fork` from now on. They must not panic. The first call counts.
pub(crate) fn register(
    before: extern "C" fn(),
    in_parent: extern "C" fn(),
    in_child: extern "C" fn(),
) {
    static REGISTER: Once = Once::new();
    // Fails if there is no memory. Then there are no hooks.
    REGISTER.call_once(|| _ = pthread_atfork(before, in_parent, in_child));
}
