//! README, the manifest and the pages of `docs` say the same, and their links lead somewhere.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// README, and the pages that rustdoc shows as modules.
fn pages() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let mut pages: Vec<_> = docs
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect();
    pages.push(root().join("README.md"));
    pages
}

/// The lines outside of code blocks.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    page.lines().filter(move |line| {
        let is_fence = line.starts_with("```");
        is_code ^= is_fence;
        !is_fence && !is_code
    })
}

/// Returns the texts between `open` and `close`.
fn between<'a>(text: &'a str, open: &str, close: char) -> Vec<&'a str> {
    let parts = text.split(open).skip(1);
    parts
        .filter_map(|part| Some(part.split_once(close)?.0))
        .collect()
}

fn features() -> BTreeSet<String> {
    let manifest = text("Cargo.toml");
    let section = manifest.split("\n[features]\n").nth(1).unwrap();
    let section = section.split("\n[").next().unwrap();
    let names = section.lines().filter(|line| !line.starts_with('#'));
    let names = names.filter_map(|line| Some(line.split_once(" = ")?.0.to_owned()));
    names.filter(|name| name != "default").collect()
}

#[test]
fn the_readme_lists_the_features_of_the_manifest() {
    let readme = text("README.md");
    let section = readme.split("\n## Features\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let named: Vec<_> = section.split('`').skip(1).step_by(2).collect();
    for feature in features() {
        assert!(
            named.contains(&&*feature),
            "README does not list `{feature}`"
        );
    }
}

#[test]
fn the_oldest_rust_is_the_same_on_every_page() {
    let (manifest, platforms) = (text("Cargo.toml"), text("docs/platforms.md"));
    let oldest = between(&manifest, "\nrust-version = \"", '"')[0];
    let rows = platforms
        .lines()
        .filter(|line| line.starts_with("| `") && line.contains("| 1."));
    let rows: Vec<Vec<_>> = rows
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert_eq!(rows[0][2], oldest);
    let readme = text("README.md");
    let known = features();
    for row in &rows {
        assert!(
            readme.contains(row[2]),
            "README does not name Rust {}",
            row[2]
        );
        for feature in row[1].trim_matches('`').split(',') {
            if let Some(crate_) = feature.strip_prefix("tallies-") {
                let manifest = text(format!("crates/{crate_}/Cargo.toml"));
                let own = between(&manifest, "\nrust-version = \"", '"');
                let inherits = manifest.contains("\nrust-version.workspace = true");
                let own = if inherits { oldest } else { own[0] };
                assert_eq!(row[2], own, "{feature}");
                continue;
            }
            assert!(known.contains(feature), "`{feature}` is no feature");
        }
    }
}

#[test]
fn every_link_leads_somewhere() {
    let rewritten = text("src/links.md");
    let slug = |heading: &str| {
        let kept = heading
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    for page in pages() {
        let name = page.file_name().unwrap().to_str().unwrap();
        let content = text(&page);
        let is_readme = name == "README.md";
        for line in prose(&content) {
            let target = match line.split_once("]: ") {
                Some((label, target)) if label.starts_with('[') => {
                    let label = &label[1..];
                    let is_file = !target.starts_with("http") && !target.starts_with('#');
                    let has_label = rewritten.contains(&format!("[{label}]: "));
                    assert!(
                        !is_file || has_label,
                        "{name}: src/links.md has no `{label}`"
                    );
                    Some(target)
                }
                _ => None,
            };
            // rustdoc rewrites references, and not links that name a file in the text.
            for inline in between(line, "](", ')') {
                let is_file = !inline.starts_with("http") && !inline.starts_with('#');
                assert!(!is_file, "{name}: `{inline}` should be a reference");
            }
            let inline = between(line, "](", ')').into_iter().filter(|_| !is_readme);
            for target in target.into_iter().chain(inline) {
                let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
                if target.starts_with("http") || target.starts_with("crate::") {
                    continue;
                }
                assert!(
                    !is_readme || file.is_empty(),
                    "README.md: `{target}` is relative"
                );
                let path = if file.is_empty() {
                    page.clone()
                } else {
                    page.with_file_name(file)
                };
                assert!(path.exists(), "{name}: there is no `{file}`");
                if !anchor.is_empty() {
                    let there = text(&path);
                    let mut headings = there.lines().filter(|line| line.starts_with('#'));
                    let found = headings.any(|h| slug(h.trim_start_matches('#').trim()) == anchor);
                    assert!(found, "{name}: `{target}` has no such heading");
                }
            }
        }
    }
}

/// The files of a package, as it is published.
fn packaged(package: &str) -> BTreeSet<String> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let list = std::process::Command::new(cargo)
        .args(["package", "--list", "--allow-dirty", "-p", package])
        .current_dir(root())
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&list.stderr);
    assert!(list.status.success(), "{error}");
    let files = String::from_utf8(list.stdout).unwrap();
    files.lines().map(str::to_owned).collect()
}

/// The registry shows README without the rest of the package, and knows no repository. So its links
/// lead to docs.rs: to a page that the crate builds there, or to a file of the package, which
/// docs.rs serves as it is.
#[test]
fn every_link_of_a_published_readme_leads_to_what_is_published() {
    let (library, files) = (text("src/lib.rs"), packaged("tallies"));
    let check = |name: &str, target: &str| {
        if let Some(file) = target.strip_prefix("https://docs.rs/crate/tallies/latest/source/") {
            let there = files.contains(file);
            assert!(there, "{name}: `{file}` is not in the package");
        } else if let Some(page) =
            target.strip_prefix("https://docs.rs/tallies/latest/tallies/docs/")
        {
            let module = page.split('/').next().unwrap();
            let mut entries = between(&library, &format!("\n        {module}: \"../"), '"');
            let file = entries.pop().unwrap_or_default();
            let there = files.contains(file);
            assert!(there, "{name}: the crate has no page `{module}`");
        } else {
            let is_absolute = target.starts_with("https://") || target.starts_with('#');
            assert!(is_absolute, "{name}: `{target}` is relative");
        }
    };
    for (package, readme) in [
        ("tallies", "README.md"),
        ("tallies-cli", "crates/cli/README.md"),
        ("tallies-macros", "macros/README.md"),
    ] {
        assert!(packaged(package).contains("README.md"), "{package}");
        let content = text(readme);
        for line in prose(&content) {
            let reference = line
                .strip_prefix('[')
                .and_then(|line| line.split_once("]: "));
            let reference = reference.map(|(_, target)| target);
            for target in between(line, "](", ')').into_iter().chain(reference) {
                check(readme, target);
            }
        }
    }
    // What rustdoc shows in place of files of the tree.
    let rewritten = text("src/links.md");
    let targets = rewritten
        .lines()
        .filter_map(|line| Some(line.split_once("]: ")?.1));
    for target in targets.filter(|target| !target.starts_with("crate::")) {
        check("src/links.md", target);
    }
}

/// rustdoc hides them, and nothing else does.
#[test]
fn no_program_on_a_page_has_hidden_lines() {
    for page in pages() {
        let content = text(&page);
        let mut is_rust = false;
        for (i, line) in content.lines().enumerate() {
            if line.starts_with("```") {
                is_rust = line.starts_with("```rust");
            }
            let is_hidden = is_rust && (line == "#" || line.starts_with("# "));
            assert!(!is_hidden, "{}:{}: {line}", page.display(), i + 1);
        }
    }
}

#[test]
fn every_example_that_a_page_runs_exists() {
    for page in pages() {
        for name in between(&text(&page), "--example ", ' ') {
            let name = name.split(['\n', '`']).next().unwrap();
            let of_crate = format!("crates/bench/examples/{name}.rs");
            let paths = [format!("examples/{name}.rs"), of_crate];
            let is_there = paths.iter().any(|path| root().join(path).exists());
            assert!(
                is_there || name == "X",
                "{}: no example `{name}`",
                page.display()
            );
        }
    }
}

/// The costs on the front page are those on the page of benchmarks.
#[test]
fn a_cost_is_the_same_on_every_page() {
    let benchmarks = text("docs/benchmarks.md");
    let readme = text("README.md");
    let rows = readme
        .lines()
        .filter(|line| line.starts_with("| ") && line.contains(" / "));
    let rows: Vec<_> = rows.filter(|line| line.matches('|').count() == 5).collect();
    assert!(rows.len() >= 5);
    for row in rows {
        let cells: Vec<_> = row.split('|').map(str::trim).collect();
        for cost in &cells[2..5] {
            assert!(benchmarks.contains(&format!("| {cost} |")), "{row}: {cost}");
        }
    }
    for place in ["src/declare/counter.rs", "README.md"] {
        assert!(text(place).contains("0.33 ns"), "{place}");
    }
}

/// The dev-dependency on the crate itself has some features on for all examples.
#[test]
fn every_command_that_runs_an_example_has_its_features() {
    let manifest = text("Cargo.toml");
    let always = between(&manifest, "\ntallies = { path = \".\", features = [", ']')[0];
    let mut files = pages();
    let examples = std::fs::read_dir(root().join("examples")).unwrap();
    files.extend(examples.map(|entry| entry.unwrap().path()));
    files.retain(|path| path.extension().is_some_and(|e| e == "md" || e == "rs"));
    for entry in manifest.split("\n[[example]]\n").skip(1) {
        let entry = entry.split("\n\n").next().unwrap();
        let name = between(entry, "name = \"", '"')[0];
        let needed = between(entry, "required-features = [\"", ']');
        let needed = needed.first().map_or("", |list| list.trim_end_matches('"'));
        let needed = needed.split("\", \"").filter(|f| !f.is_empty());
        let needed: Vec<_> = needed
            .filter(|f| !always.contains(&format!("\"{f}\"")))
            .collect();
        for path in &files {
            let content = text(path);
            for line in content.lines() {
                let of = |flag: &str| {
                    let rest = line.split_once(flag)?.1;
                    rest.split([' ', '`']).next()
                };
                if of("--example ") == Some(name) {
                    let given = of("--features ").unwrap_or_default();
                    let lacks = needed.iter().find(|f| given.split(',').all(|g| g != **f));
                    assert_eq!(lacks, None, "{}: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn no_page_denies_what_there_is() {
    for page in pages() {
        let content = text(&page);
        for claim in ["is not included", "not yet", "coming soon"] {
            let found = prose(&content).find(|line| line.contains(claim));
            assert_eq!(found, None, "{}", page.display());
        }
    }
}
