//! How a program was built: its times mean nothing without that.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The build of a measured program: that of this crate in it, so a profile that sets other levels
/// for single packages is not seen.
///
/// ```
/// use tallies_bench::Load;
///
/// let load = Load::new().warm_up(std::time::Duration::ZERO).stop_after(1);
/// let report = load.run(|_| ())?;
/// assert!(report.build().compiler.starts_with("rustc "));
/// # Ok::<(), tallies_bench::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Build {
    /// The compiler, such as `rustc 1.95.0 (59807616e 2026-04-14)`.
    pub compiler: String,
    /// The `opt-level` of the profile, such as `3`.
    pub opt_level: String,
    /// Whether the profile has `debug-assertions`.
    pub debug_assertions: bool,
}

impl Build {
    /// The build of this program.
    pub(crate) fn here() -> Self {
        Self {
            compiler: env!("TALLIES_BENCH_COMPILER").to_owned(),
            opt_level: env!("TALLIES_BENCH_OPT_LEVEL").to_owned(),
            debug_assertions: cfg!(debug_assertions),
        }
    }

    /// Returns whether the compiler optimized, and left assertions for debugging out.
    #[must_use]
    pub fn is_optimized(&self) -> bool {
        self.opt_level != "0" && !self.debug_assertions
    }

    /// The profile in words.
    pub(crate) fn profile(&self) -> String {
        let assertions = if self.debug_assertions {
            ", debug assertions"
        } else {
            ""
        };
        format!("opt-level {}{assertions}", self.opt_level)
    }

    /// The build on a page.
    pub(crate) fn facts(&self) -> Vec<(&'static str, String)> {
        vec![
            ("compiler", self.compiler.clone()),
            ("profile", self.profile()),
        ]
    }

    /// A warning about the times of this build, if it is not optimized.
    pub(crate) fn note(&self, what: &str) -> Option<String> {
        let why = "times of an optimized build (`cargo bench`, or `--release`) differ";
        let profile = self.profile();
        (!self.is_optimized()).then(|| format!("debug build: {profile} in {what}; {why}"))
    }
}

impl fmt::Display for Build {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.compiler, self.profile())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_without_optimization_or_with_debug_assertions_has_a_note() {
        let build = |opt_level: &str, debug_assertions| Build {
            compiler: "rustc 1.95.0".to_owned(),
            opt_level: opt_level.to_owned(),
            debug_assertions,
        };
        assert_eq!(build("3", false).note("old"), None);
        assert_eq!(build("s", false).note("old"), None);
        for slow in [build("0", false), build("3", true)] {
            let note = slow.note("old").unwrap();
            assert!(note.starts_with("debug build: opt-level "), "{note}");
            assert!(note.contains(" in old; "), "{note}");
        }
        assert_eq!(
            build("3", true).to_string(),
            "rustc 1.95.0, opt-level 3, debug assertions"
        );
        assert_eq!(Build::here().debug_assertions, cfg!(debug_assertions));
        assert!(Build::here().compiler.starts_with("rustc 1."));
    }
}
