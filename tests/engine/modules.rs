//! Which module may import which: reads every `crate::module` in `src/` and fails on an arrow that
//! points up. `docs/architecture.md` has the picture.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A module, and the modules that it may name.
const RULES: &[(&str, &[&str])] = &[
    ("sync", &[]),
    ("mapped", &["sync"]),
    ("error", &["sync"]),
    ("clock", &["sync"]),
    ("snapshot", &["sync", "error"]),
    ("lockfree", &["sync", "mapped", "snapshot"]),
    (
        "observe",
        &["sync", "mapped", "clock", "snapshot", "lockfree"],
    ),
    (
        "family",
        &[
            "sync", "error", "mapped", "clock", "snapshot", "lockfree", "observe",
        ],
    ),
    (
        "registry",
        &[
            "sync", "error", "clock", "snapshot", "observe", "family", "in_both",
        ],
    ),
    (
        "declare",
        &[
            "error", "clock", "snapshot", "lockfree", "observe", "family", "registry", "in_both",
        ],
    ),
    // Its methods return guards, and what it has is part of the modules of both forms.
    ("in_both", &["instrument"]),
    (
        "process",
        &["error", "observe", "family", "registry", "declare"],
    ),
    ("encode", &["error", "snapshot"]),
    ("serve", &["sync", "error", "clock", "snapshot", "encode"]),
    (
        "instrument",
        &[
            "error", "clock", "snapshot", "observe", "family", "registry", "declare", "in_both",
        ],
    ),
    (
        "share",
        &[
            "sync", "mapped", "error", "clock", "snapshot", "observe", "family", "registry",
            "declare", "encode",
        ],
    ),
    ("push", &["sync", "error", "clock", "snapshot", "encode"]),
    ("testing", &["snapshot", "observe", "registry", "encode"]),
    // The crate without the engine.
    ("off", &["in_both"]),
];

/// The files of `observe` that are the engine. They know no metric kind.
const ENGINE: &[&str] = &[
    "cold_lock.rs",
    "engine.rs",
    "file.rs",
    "memory.rs",
    "pass.rs",
    "shard.rs",
    "slot.rs",
    "thread.rs",
    "update.rs",
];
const KINDS: &[&str] = &[
    "buckets", "gauge", "native", "stream", "summary", "tally", "window",
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

/// The modules that a source names outside comments, documentation and its tests.
fn named(source: &str) -> BTreeSet<String> {
    let code: String = source
        .split("\nmod tests {")
        .next()
        .unwrap()
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut modules = BTreeSet::new();
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
                    modules.extend(many.split(',').map(|one| word(one.trim())));
                }
                None => _ = modules.insert(word(rest)),
            }
        }
    }
    modules
}

#[test]
fn modules_name_only_modules_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let all: BTreeSet<&str> = RULES.iter().map(|(module, _)| *module).collect();
    let mut seen = BTreeSet::new();
    let mut wrong = Vec::new();
    for file in files {
        let path = file.strip_prefix(&src).unwrap();
        // Modules of tests.
        if path.ends_with("tests.rs") || path.ends_with("laws.rs") {
            continue;
        }
        let module = path
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_str()
            .unwrap();
        let module = module.strip_suffix(".rs").unwrap_or(module);
        if module == "lib" {
            continue;
        }
        let Some((_, may)) = RULES.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: a module without a rule", path.display()));
            continue;
        };
        seen.insert(module.to_owned());
        for other in named(&std::fs::read_to_string(&file).unwrap()) {
            if all.contains(&*other) && other != module && !may.contains(&&*other) {
                wrong.push(format!("{}: names `{other}`", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(seen.len(), all.len(), "a rule without a module");
}

#[test]
fn unsafe_code_stays_in_its_modules() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut with: Vec<_> = files
        .iter()
        .filter(|file| {
            let source = std::fs::read_to_string(file).unwrap();
            source
                .lines()
                .any(|line| !line.trim_start().starts_with("//") && line.contains("unsafe "))
        })
        .map(|file| file.strip_prefix(&src).unwrap().display().to_string())
        .filter(|file| {
            !["observe/", "lockfree/", "mapped/"]
                .iter()
                .any(|own| file.starts_with(own))
        })
        .collect();
    with.sort();
    // `owner_load` in a model uses loom's own check; `last_tick` calls libc. Without the engine, a
    // wrapper of futures has no macro that projects its pin.
    assert_eq!(with, ["off/instrument.rs", "sync/mod.rs"]);
    let sentence = "Unsafe code stands in `observe`, `lockfree`, `mapped` and `sync`, in one pin of \
                    `off`, and in `tallies-trace-context`.";
    for page in ["README.md", "CONTRIBUTING.md", "docs/architecture.md"] {
        // A published package has no guide for contributors.
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page));
        assert!(text.map_or(true, |text| text.contains(sentence)), "{page}");
    }
}

#[test]
fn the_engine_knows_no_metric_kind() {
    let observe = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/observe");
    for file in ENGINE {
        let source = std::fs::read_to_string(observe.join(file)).unwrap();
        let code = source.split("\nmod tests {").next().unwrap();
        let imports = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in imports {
            for kind in KINDS {
                let path = format!("super::{kind}::");
                assert!(
                    !line.contains(&path),
                    "observe/{file} imports {kind}: {line}"
                );
            }
        }
    }
}

#[test]
fn the_rule_sees_an_arrow() {
    assert!(named("use crate::{error::Error, serve};").contains("serve"));
    assert!(named("    crate::declare::Counter").contains("declare"));
    assert!(!named("// crate::serve").contains("serve"));
}
