//! A copy of the package without the rest of the workspace, where nothing but its own tests is
//! built.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) type Result<T> = std::result::Result<T, String>;

/// Optimized, since models explore many interleavings, and without what only costs time.
const PROFILE: &str = "
[profile.release]
debug = false
lto = \"off\"
codegen-units = 16
";

/// Copies what the tests of the package need. `edit` may change a file of `src`.
pub(crate) fn copy(root: &Path, to: &Path, edit: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    let mut wanted = BTreeSet::new();
    for path in [
        "Cargo.toml",
        "Cargo.lock",
        "build.rs",
        "README.md",
        "crates/check/src/pages",
        "crates/client",
        "crates/names",
        "macros",
        "src",
        "tests/golden/share",
    ] {
        wanted.extend(files(root, path)?);
    }
    copy_these(root, to, &wanted, &|path| match edit(path) {
        None if path == "Cargo.toml" => Some(manifest(&read(&root.join(path)).ok()?) + PROFILE),
        edited => edited,
    })
}

/// Copies the workspace.
pub(crate) fn copy_all(
    root: &Path,
    to: &Path,
    edit: &dyn Fn(&str) -> Option<String>,
) -> Result<()> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others"])
        .arg("--exclude-standard")
        .current_dir(root)
        .output()
        .map_err(|error| format!("git: {error}"))?;
    let listed = String::from_utf8_lossy(&output.stdout);
    let wanted = listed
        .split_terminator('\0')
        .map(str::to_owned)
        .filter(|path| root.join(path).is_file())
        .collect();
    copy_these(root, to, &wanted, edit)
}

fn copy_these(
    root: &Path,
    to: &Path,
    wanted: &BTreeSet<String>,
    edit: &dyn Fn(&str) -> Option<String>,
) -> Result<()> {
    for folder in ["src", "crates", "macros", "tests"] {
        for path in files(to, folder)? {
            if !wanted.contains(&path) {
                fs::remove_file(to.join(&path)).map_err(|error| format!("{path}: {error}"))?;
            }
        }
    }
    for path in wanted {
        let text = match edit(path) {
            Some(text) => text.into_bytes(),
            None => fs::read(root.join(path)).map_err(|error| format!("{path}: {error}"))?,
        };
        write(&to.join(path), &text)?;
    }
    Ok(())
}

/// The files under a path, relative to `root`. None if there is nothing.
pub(crate) fn files(root: &Path, path: &str) -> Result<Vec<String>> {
    let full = root.join(path);
    if full.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(&full).into_iter().flatten() {
        let name = entry
            .map_err(|error| format!("{path}: {error}"))?
            .file_name();
        found.extend(files(root, &format!("{path}/{}", name.to_string_lossy()))?);
    }
    found.sort();
    Ok(found)
}

pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Writes a file, unless it has these bytes: cargo looks at its time.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    let folder = path.parent().map_or_else(PathBuf::new, Path::to_path_buf);
    fs::create_dir_all(folder)
        .and_then(|()| fs::write(path, bytes))
        .map_err(|error| format!("{}: {error}", path.display()))
}

/// The manifest without other packages, other targets, profiles, and what integration tests need.
fn manifest(text: &str) -> String {
    let mut kept = String::new();
    let mut keeps = true;
    for line in text.lines() {
        if line.starts_with('[') {
            keeps = ![
                "[[example]]",
                "[[test]]",
                "[[bench]]",
                "[profile.",
                "[target.'cfg(not(loom))'.dev-",
            ]
            .iter()
            .any(|section| line.starts_with(section));
        }
        if line.starts_with("members = ") {
            kept += "members = [\"macros\"]\n";
        } else if keeps && !line.starts_with("default-members = ") {
            kept += line;
            kept.push('\n');
        }
    }
    kept
}
