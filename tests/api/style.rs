//! The style of comments: they end at column 100, and begin with a noun or a verb.

use std::path::{Path, PathBuf};

const FOLDERS: [&str; 8] = [
    "src",
    "macros",
    "crates",
    "tests",
    "benches",
    "examples",
    "xtask",
    "fuzz/fuzz_targets",
];

/// Sources whose comments are help texts.
const HELP: [&str; 2] = ["tests/ui/", "tests/declare/macros.rs"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Calls `look` with the path below the root, the number and the text of each line.
fn each_line(mut look: impl FnMut(&str, usize, &str)) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for folder in FOLDERS {
        sources(&root.join(folder), &mut files);
    }
    for file in files {
        let path = file.strip_prefix(&root).unwrap().display().to_string();
        let text = std::fs::read_to_string(&file).unwrap();
        for (i, line) in text.lines().enumerate() {
            look(&path, i + 1, line);
        }
    }
}

/// Returns the text of a comment, if the line is one.
fn comment(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix("//")?;
    Some(rest.trim_start_matches(['/', '!']).trim())
}

#[test]
fn comments_end_at_column_100() {
    let (mut wrong, mut is_code) = (Vec::new(), false);
    each_line(|path, number, line| {
        let Some(text) = comment(line) else {
            is_code = false;
            return;
        };
        is_code ^= text.starts_with("```");
        // A row of a table, or one long word, has no place to break.
        let breaks = text.contains(' ') && !text.starts_with('|') && !is_code;
        if breaks && line.chars().count() > 100 {
            wrong.push(format!("{path}:{number}"));
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn documentation_begins_with_a_noun_or_a_verb() {
    let (mut wrong, mut before) = (Vec::new(), String::new());
    each_line(|path, number, line| {
        let text = comment(line).unwrap_or_default();
        let is_doc = ["///", "//!"]
            .iter()
            .any(|mark| line.trim_start().starts_with(mark));
        let begins = before.is_empty() && is_doc && !HELP.iter().any(|help| path.starts_with(help));
        let is_old = ["What ", "Who ", "Whoever ", "Whatever ", "That which "]
            .iter()
            .any(|word| text.starts_with(word));
        if begins && is_old && !text.ends_with('?') {
            wrong.push(format!("{path}:{number}: {text}"));
        }
        before = text.to_owned();
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}
