//! Build information: the version, compiler, target and profile of a package.

use crate::declare::Info;
use crate::error::Error;
use crate::registry::Registry;

/// Adds `{package}_build_info` for the calling package to a registry. Its value is 1, and its
/// labels are `version`, `rustc`, `target` and `profile`. Further labels may follow the registry.
///
/// ```
/// let registry = tallies::Registry::new();
/// let revision = option_env!("GIT_REVISION").unwrap_or("unknown");
/// tallies::build_info!(&registry, "revision" => revision)?;
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

/// Implements [`build_info!`](crate::build_info).
#[doc(hidden)]
#[track_caller]
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
    let help = "Build information: version, compiler and target.";
    registry.info(&name, help, &labels)
}
