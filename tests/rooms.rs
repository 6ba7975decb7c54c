//! Who may import whom: reads every `crate::room` in `src/` and fails on an arrow that is not below.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Room, and the rooms it may name.
const RULES: &[(&str, &[&str])] = &[
    ("sync", &[]),
    ("error", &["snapshot"]),
    ("clock", &["snapshot"]),
    ("snapshot", &["error"]),
    ("observe", &["sync", "snapshot"]),
    ("declare", &["error", "clock", "snapshot", "observe"]),
    (
        "collect",
        &["sync", "error", "clock", "snapshot", "observe", "declare"],
    ),
    (
        "facade",
        &["error", "clock", "snapshot", "declare", "collect"],
    ),
    ("process", &["error", "observe", "declare", "collect"]),
    ("encode", &["error", "snapshot"]),
    ("serve", &["sync", "error", "clock", "snapshot", "encode"]),
    (
        "instrument",
        &[
            "error", "clock", "snapshot", "observe", "declare", "collect",
        ],
    ),
    ("push", &["sync", "error", "clock", "snapshot", "encode"]),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// The rooms that a source names, comments, documentation and its tests aside.
fn named(source: &str) -> BTreeSet<String> {
    let code: String = source
        .split("\nmod tests {")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut rooms = BTreeSet::new();
    for path in ["$crate::", "crate::"] {
        for (at, _) in code.match_indices(path) {
            let rest = &code[at + path.len()..];
            let word = |text: &str| {
                text.chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect::<String>()
            };
            match rest.strip_prefix('{') {
                Some(many) => {
                    let many = many.split('}').next().unwrap();
                    rooms.extend(many.split(',').map(|one| word(one.trim())));
                }
                None => _ = rooms.insert(word(rest)),
            }
        }
    }
    rooms
}

#[test]
fn rooms_name_only_what_is_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let all: BTreeSet<&str> = RULES.iter().map(|(room, _)| *room).collect();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in files {
        let path = file.strip_prefix(&src).unwrap();
        if path.ends_with("tests.rs") {
            continue;
        }
        let room = path
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let room = room.strip_suffix(".rs").unwrap_or(room);
        if room == "lib" {
            continue;
        }
        let Some((_, may)) = RULES.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{}: a room without a rule", path.display()));
            continue;
        };
        seen.insert(room.to_owned());
        for other in named(&std::fs::read_to_string(&file).unwrap()) {
            if all.contains(&*other) && other != room && !may.contains(&&*other) {
                wrong.push(format!("{}: names `{other}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(seen.len(), all.len(), "a rule without a room");
}

#[test]
fn unsafe_code_stays_in_its_room() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let with: Vec<_> = files
        .iter()
        .filter(|file| {
            let source = std::fs::read_to_string(file).unwrap();
            source
                .lines()
                .any(|line| !line.trim_start().starts_with("//") && line.contains("unsafe "))
        })
        .map(|file| file.strip_prefix(&src).unwrap().display().to_string())
        .filter(|file| !file.starts_with("observe/"))
        .collect();
    // The owner's load in a model: loom's own check.
    assert_eq!(with, ["sync/mod.rs"]);
}

#[test]
fn the_rule_sees_an_arrow() {
    assert!(named("use crate::{error::Error, serve};").contains("serve"));
    assert!(named("    crate::declare::List").contains("declare"));
    assert!(!named("// crate::serve").contains("serve"));
}
