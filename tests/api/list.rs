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
    let all = ["--workspace", "--examples", "--all-features"];
    document(&root, &rustdoc, &target, &all);
    // In a folder of its own, since the crate has the same name.
    let off = target.join("without-engine");
    document(
        &root,
        &rustdoc,
        &off,
        &["-p", "tallies", "--no-default-features"],
    );
    // One crate after the other, so that `ACCEPT=1` writes all lists.
    let changed: String = libraries(&root)
        .iter()
        .map(|library| changes(&root, &target, library, library))
        .chain([changes(&root, &off, "tallies", "tallies-off")])
        .collect();
    assert!(changed.is_empty(), "ACCEPT=1 takes this:\n{changed}");
}

/// The lines without the engine that differ: a trait that is sealed by another one, and a number
/// that is formatted without `itoa`.
const OTHERWISE: &[&str] = &[
    "pub fn tallies::label::Scratch::integer(&mut self, impl core::fmt::Display) -> &str",
    "pub trait tallies::Metric: MetricParts",
];

/// Code that is written against the crate without its engine means the same with it.
#[test]
fn the_api_without_the_engine_is_a_part_of_the_one_with_it() {
    let lists = Path::new(env!("CARGO_MANIFEST_DIR")).join("../public-api");
    let list = |name| {
        let text = std::fs::read_to_string(lists.join(name)).unwrap();
        text.replace("<'a, ", "<'_, ")
    };
    let (on, off) = (list("tallies.txt"), list("tallies-off.txt"));
    // Items are listed with their paths, so the headers of their `impl` say nothing more. Traits of
    // private modules are for expansions of macros.
    let is_item = |line: &&str| {
        let header = line.starts_with("impl") && !line.contains(" for ");
        !header && !line.contains("tallies::off::") && !line.contains("::declared()")
    };
    let other = off.lines().filter(is_item);
    let other = other.filter(|line| !on.lines().any(|same| same == *line));
    assert_eq!(other.collect::<Vec<_>>(), OTHERWISE);
}

/// Writes the documentation of libraries as JSON.
fn document(root: &Path, rustdoc: &Path, target: &Path, what: &[&str]) {
    let status = Command::new(env!("CARGO"))
        .args(["doc", "--quiet", "--lib", "--no-deps"])
        .args(what)
        .env("RUSTDOC", rustdoc)
        .env(
            "RUSTDOCFLAGS",
            "-Zunstable-options --output-format json --cap-lints allow",
        )
        .env("CARGO_TARGET_DIR", target)
        .current_dir(root)
        .status();
    assert!(status.unwrap().success());
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

/// Compares the API of a library with a list, or writes the list.
fn changes(root: &Path, target: &Path, library: &str, list: &str) -> String {
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
    let path = root.join(format!("tests/public-api/{list}.txt"));
    let list = items.join("\n") + "\n";
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
