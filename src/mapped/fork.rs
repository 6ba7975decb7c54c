//! Hooks around `fork`.

use std::sync::OnceLock;

/// The functions that run before a `fork`, and after it in the parent and in the child.
#[derive(Clone, Copy)]
pub(crate) struct Hooks {
    pub(crate) before: fn(),
    pub(crate) in_parent: fn(),
    pub(crate) in_child: fn(),
}

static HOOKS: OnceLock<Hooks> = OnceLock::new();

unsafe extern "C" {
    safe fn pthread_atfork(
        before: extern "C" fn(),
        in_parent: extern "C" fn(),
        in_child: extern "C" fn(),
    ) -> i32;
}

/// Runs the hooks around each `fork` from now on. The first call counts.
pub(crate) fn register(hooks: Hooks) {
    HOOKS.get_or_init(|| {
        // Fails if there is no memory. Then there are no hooks.
        let _ = pthread_atfork(before, in_parent, in_child);
        hooks
    });
}

extern "C" fn before() {
    run(|hooks| hooks.before);
}

extern "C" fn in_parent() {
    run(|hooks| hooks.in_parent);
}

extern "C" fn in_child() {
    run(|hooks| hooks.in_child);
}

/// Runs a hook. A panic must not leave a function that C calls.
fn run(hook: fn(&Hooks) -> fn()) {
    if let Some(hooks) = HOOKS.get() {
        let _ = std::panic::catch_unwind(hook(hooks));
    }
}
