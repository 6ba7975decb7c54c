//! The public API of each crate is the one that its list in `public-api` has. `ACCEPT=1` writes the
//! lists.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[test]
fn the_public_api_is_the_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    // Only unstable flags write the documentation as JSON. They are for rustdoc alone, and the
    // whole workspace is named, with its examples: otherwise dependencies would be checked again.
    let rustdoc = target.join("unstable-rustdoc");
    std::fs::create_dir_all(&target).unwrap();
    std::fs::write(
        &rustdoc,
        "#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc \"$@\"\n",
    )
    .unwrap();
    std::fs::set_permissions(&rustdoc, PermissionsExt::from_mode(0o755)).unwrap();
    let status = Command::new(env!("CARGO"))
        .args([
            "doc",
            "--quiet",
            "--workspace",
            "--lib",
            "--examples",
            "--no-deps",
            "--all-features",
        ])
        .env("RUSTDOC", &rustdoc)
        .env(
            "RUSTDOCFLAGS",
            "-Zunstable-options --output-format json --cap-lints allow",
        )
        .env("CARGO_TARGET_DIR", &target)
        .current_dir(&root)
        .status();
    assert!(status.unwrap().success());
    // One crate after the other, so that `ACCEPT=1` writes all lists.
    let changed: String = libraries(&root)
        .iter()
        .map(|library| changes(&root, &target, library))
        .collect();
    assert!(changed.is_empty(), "ACCEPT=1 takes this:\n{changed}");
}

/// Returns the names of the crates that users depend on.
fn libraries(root: &Path) -> Vec<String> {
    let folders = std::fs::read_dir(root.join("crates")).unwrap();
    let folders = folders.map(|folder| folder.unwrap().path());
    let satellites = folders.filter(|folder| folder.join("src/lib.rs").exists());
    let name = |folder: std::path::PathBuf| folder.file_name().unwrap().display().to_string();
    let mut names: Vec<_> = satellites
        .map(|folder| format!("tallies-{}", name(folder)))
        .collect();
    names.push("tallies".to_owned());
    names.sort();
    names
}

/// Compares the API of a crate with its list, or writes the list.
fn changes(root: &Path, target: &Path, library: &str) -> String {
    let json = target.join(format!("doc/{}.json", library.replace('-', "_")));
    let api = public_api::Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .unwrap();
    let mut items: Vec<_> = api.items().map(|item| item.to_string()).collect();
    items.sort();
    items.dedup();
    let list = items.join("\n") + "\n";
    let path = root.join(format!("tests/public-api/{library}.txt"));
    if std::env::var_os("ACCEPT").is_some() {
        std::fs::write(path, list).unwrap();
        return String::new();
    }
    let accepted = std::fs::read_to_string(path).unwrap_or_default();
    let differs = |a: &str, b: &str, sign: &str| -> String {
        let lines = a
            .lines()
            .filter(|line| !b.lines().any(|other| other == *line));
        lines.map(|line| format!("{sign} {line}\n")).collect()
    };
    differs(&accepted, &list, "-") + &differs(&list, &accepted, "+")
}
