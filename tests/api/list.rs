//! The public API is the one that `public-api.txt` lists. `ACCEPT=1` writes that file.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

#[test]
fn the_public_api_is_the_list() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), Into::into);
    // Only unstable flags write the documentation as JSON. They are for rustdoc alone, and the whole
    // workspace is named: otherwise dependencies would be compiled again.
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
    let api = public_api::Builder::from_rustdoc_json(target.join("doc/tallies.json"))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build()
        .unwrap();
    let mut items: Vec<_> = api.items().map(|item| item.to_string()).collect();
    items.sort();
    items.dedup();
    let list = items.join("\n") + "\n";
    let path = root.join("tests/public-api.txt");
    if std::env::var_os("ACCEPT").is_some() {
        std::fs::write(path, list).unwrap();
        return;
    }
    let accepted = std::fs::read_to_string(path).unwrap();
    let differs = |a: &str, b: &str, sign: &str| -> String {
        let lines = a
            .lines()
            .filter(|line| !b.lines().any(|other| other == *line));
        lines.map(|line| format!("{sign} {line}\n")).collect()
    };
    let gone = differs(&accepted, &list, "-");
    let new = differs(&list, &accepted, "+");
    assert!(
        gone.is_empty() && new.is_empty(),
        "ACCEPT=1 takes this:\n{gone}{new}"
    );
}
