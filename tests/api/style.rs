//! The style of sources: comments end at column 100 and begin with a noun or a verb, a type has a
//! name of its own in its crate, and programs in documents have no hidden lines.

use std::collections::{BTreeMap, HashSet};
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

/// Types of one name that may stay: a metric, and the value that a snapshot has of it.
const TWINS: [&str; 2] = ["Histogram", "Summary"];

/// The folder of a crate, and names that several of its types have today. A name comes off this
/// list with the last type that shares it; none comes to it.
const SHARED_NAMES: [(&str, &[&str]); 1] = [(
    "src/",
    &[
        "Bound",
        "Collector",
        "Fallible",
        "Family",
        "Live",
        "Number",
        "Outcome",
        "Record",
        "Scratch",
    ],
)];

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

/// Returns the name of a type that a line defines outside of functions and modules in braces.
fn type_defined_in(line: &str) -> Option<&str> {
    let line = match line.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(") ")?.1,
        Some(rest) => rest.strip_prefix(' ')?,
        None => line,
    };
    let line = line.strip_prefix("unsafe ").unwrap_or(line);
    let (word, rest) = line.split_once(' ')?;
    let end = rest.find(|c: char| !c.is_alphanumeric())?;
    ["struct", "enum", "union", "trait", "type"]
        .contains(&word)
        .then_some(&rest[..end])
}

#[test]
fn no_two_types_of_a_crate_have_one_name() {
    let mut files: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    let mut file_of_tests = String::new();
    each_line(|path, _, line| {
        let is_source = ["src/", "macros/src/", "crates/"]
            .iter()
            .any(|part| path.starts_with(part));
        let is_test = ["/tests", "/models", "/laws.rs"]
            .iter()
            .any(|part| path.contains(part));
        if line == "mod tests {" {
            path.clone_into(&mut file_of_tests);
        }
        // Without the engine, every type is the twin of another.
        let is_twin = path.starts_with("src/off/");
        if !is_source || is_test || is_twin || path == file_of_tests {
            return;
        }
        let name = type_defined_in(line).filter(|name| !TWINS.contains(name));
        let owner = path.find("src/").map(|at| &path[..at + 4]);
        if let (Some(owner), Some(name)) = (owner, name) {
            let files = files
                .entry((owner.to_owned(), name.to_owned()))
                .or_default();
            // One type may have a definition for each of several features.
            if !files.iter().any(|file| file == path) {
                files.push(path.to_owned());
            }
        }
    });
    assert!(files.len() > 500, "{} types are found", files.len());
    files.retain(|_, files| files.len() > 1);
    for (owner, names) in SHARED_NAMES {
        for name in names {
            let shared = files.remove(&(owner.to_owned(), (*name).to_owned()));
            let why = "has a name of its own now: take it off `SHARED_NAMES`";
            assert!(shared.is_some(), "`{name}` in {owner} {why}");
        }
    }
    assert!(files.is_empty(), "types of one name: {files:#?}");
}

/// A reader of a program outside of rustdoc sees its hidden lines.
#[test]
fn programs_in_documents_have_no_hidden_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut documents = vec![root.join("README.md")];
    for folder in [root.join("docs"), root.join("crates")] {
        let entries = std::fs::read_dir(folder).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        documents.extend(paths.map(|path| match path.is_dir() {
            true => path.join("README.md"),
            false => path,
        }));
    }
    let mut wrong = Vec::new();
    for path in documents.iter().filter(|path| path.is_file()) {
        if path.extension().is_none_or(|extension| extension != "md") {
            continue;
        }
        let (text, mut is_program) = (std::fs::read_to_string(path).unwrap(), false);
        for (i, line) in text.lines().enumerate() {
            if line.starts_with("```") {
                is_program = line.starts_with("```rust");
            } else if is_program && (line.trim() == "#" || line.trim().starts_with("# ")) {
                wrong.push(format!("{}:{}: {line}", path.display(), i + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A build of the whole workspace enables it for all, so that a crate that forgets it compiles here
/// and nowhere else.
#[test]
fn crates_on_the_engine_enable_it() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates");
    for entry in std::fs::read_dir(crates).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let text = std::fs::read_to_string(&manifest).unwrap();
        let mut lines = text.lines().filter(|line| line.starts_with("tallies = "));
        let is_off = |line: &str| {
            line.contains("default-features = false, path")
                || line.ends_with("default-features = false }")
        };
        assert!(!lines.any(is_off), "{}", manifest.display());
    }
}

/// A registration remembers the place of its caller, for messages about names that are taken. A
/// function in between that is not `#[track_caller]` would put its own place there.
#[test]
fn functions_that_register_pass_their_caller_on() {
    let (mut wrong, mut attribute, mut head) = (Vec::new(), false, String::new());
    each_line(|path, number, line| {
        let is_library = path.starts_with("src/") || path.contains("/src/");
        // A builder has its place since it was made.
        let others = ["src/off/", "src/declare/"];
        if !is_library || others.iter().any(|other| path.starts_with(other)) {
            return;
        }
        let line = line.trim();
        if line.contains("fn ") && !line.starts_with("//") {
            head.clear();
        } else if head.is_empty() {
            attribute |= line == "#[track_caller]";
            attribute &= line.starts_with("#[") || line.starts_with("//");
            return;
        }
        head += line;
        if line.ends_with(['{', ';', '}']) {
            let takes = head.contains("registry: &Registry") && head.contains("-> Result<");
            if takes && !attribute {
                wrong.push(format!("{path}:{number}: {head}"));
            }
            head.clear();
            attribute = false;
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Documents with tables whose last column, `here`, names items of our crates.
const TABLES: [&str; 3] = ["exporter", "from-python", "migration"];

/// Names in these columns that are none of ours.
const OTHERS: [&str; 5] = ["_total", "await", "extra_label", "job", "spawn_blocking"];

/// Returns the identifiers of a text, each with the text before and after it.
fn identifiers(text: &str) -> impl Iterator<Item = (&str, &str, &str)> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + text[at..].find(is_part)?;
        let rest = &text[start..];
        at = start + rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        Some((&text[..start], &text[start..at], &text[at..]))
    })
}

/// Programs in documents are compiled, and cells of tables are not: two of them had names of a year
/// ago.
#[test]
fn names_in_tables_of_documents_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let lists = std::fs::read_dir(root.join("tests/public-api")).unwrap();
    let lists = lists.map(|list| std::fs::read_to_string(list.unwrap().path()).unwrap());
    let api = lists.collect::<String>();
    let known: HashSet<&str> = identifiers(&api).map(|(_, name, _)| name).collect();
    // A trait of `tallies-config` adds methods to registries.
    let of_registry = |name: &str| {
        ["tallies::Registry", "Configure"].iter().any(|of| {
            api.contains(&format!("{of}::{name}(")) || api.contains(&format!("{of}::{name}<"))
        })
    };
    let (mut wrong, mut count) = (Vec::new(), 0);
    for document in TABLES {
        let text = std::fs::read_to_string(root.join(format!("docs/{document}.md"))).unwrap();
        let mut is_here = false;
        for (i, line) in text.lines().enumerate() {
            let row = line
                .strip_suffix('|')
                .unwrap_or_default()
                .replace("\\|", " ");
            let cell = row.rsplit('|').next().unwrap_or_default();
            if row.is_empty() || cell.trim() == "here" {
                is_here = !row.is_empty();
                continue;
            }
            // Every second part is code. That of a command line has no names of Rust.
            let code = cell.split('`').skip(1).step_by(2);
            for code in code.filter(|code| is_here && !code.starts_with("--")) {
                for (before, name, after) in identifiers(code) {
                    let is_alone = name == code;
                    let owner = before.trim_end_matches(['.', ':']).trim_end_matches("()");
                    let is_method = before.ends_with("::") || before.ends_with('.');
                    let is_called = is_method || after.starts_with(['(', '!']);
                    let is_name = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
                    if !is_name || !(is_called || is_alone) || OTHERS.contains(&name) {
                        continue;
                    }
                    count += 1;
                    let of_owner = is_method && owner.to_lowercase().ends_with("registry");
                    let exists = match of_owner || is_alone && cell.contains("Registry::") {
                        true => of_registry(name),
                        false => known.contains(name),
                    };
                    if !exists {
                        wrong.push(format!(
                            "docs/{document}.md:{}: `{name}` in `{code}`",
                            i + 1
                        ));
                    }
                }
            }
        }
    }
    assert!(count > 100, "{count} names are found");
    assert!(wrong.is_empty(), "{wrong:#?}");
}
