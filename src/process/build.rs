//! What was built, and how.

use crate::declare::Info;
use crate::error::Error;
use crate::registry::Registry;

/// Adds `{package}_build_info` to a registry, of the package that calls it: labels `version`, `rustc`, `target` and
/// `profile`, the value 1. Further labels follow the registry.
///
/// ```
/// let registry = tallies::Registry::new();
/// tallies::build_info!(&registry, "revision" => option_env!("GIT_REVISION").unwrap_or("unknown"))?;
/// let page = tallies::encode::text(&registry.snapshot());
/// assert!(page.contains("tallies_build_info{version="), "{page}");
/// # Ok::<(), tallies::Error>(())
/// ```
#[macro_export]
macro_rules! build_info {
    ($registry:expr $(, $name:expr => $value:expr)* $(,)?) => {
        $crate::process::__build_info(
            $registry,
            env!("CARGO_PKG_NAME"),
            env!("CARGO_PKG_VERSION"),
            if cfg!(debug_assertions) { "debug" } else { "release" },
            &[$(($name, $value)),*],
        )
    };
}

/// What [`build_info!`](crate::build_info) calls.
#[doc(hidden)]
pub fn info(
    registry: &Registry,
    package: &str,
    version: &str,
    profile: &str,
    more: &[(&str, &str)],
) -> Result<Info, Error> {
    let name = format!("{}_build_info", package.replace('-', "_"));
    let mut labels = vec![
        ("version", version),
        ("rustc", env!("TALLIES_RUSTC")),
        ("target", env!("TALLIES_TARGET")),
        ("profile", profile),
    ];
    labels.extend(more);
    registry.info(&name, "What was built, and how.", &labels)
}
