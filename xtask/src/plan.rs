//! The mutations: the orderings of the sources, and the patches.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::patch::{self, Patch, With};
use crate::switch::{self, Edit};
use crate::tree::{self, Result};

/// The sources that are mutated. The second crate has tests with real servers only.
pub(crate) const FOLDERS: [&str; 2] = ["src", "crates/redis/src"];

/// Where orderings stay as they are: models have stand-ins, `sync` and `epoch` only wrap what
/// others wrote.
const STAND_INS: [&str; 3] = [
    "src/observe/models",
    "src/lockfree/epoch.rs",
    "src/sync/mod.rs",
];

/// Code that exists only where files are mapped, which loom cannot do: the region, the records of
/// families, the reader in another process. `orderings.txt` argues for each ordering there.
const WITHOUT_MODELS: [&str; 3] = [
    "src/mapped/region.rs",
    "src/family/published.rs",
    "src/share/",
];

/// Where every file with atomics or unsafe code has a mutation, and the exceptions: tests, and
/// modules that only name, wrap or count.
const COVERED: [&str; 3] = ["src/lockfree/", "src/observe/", "src/sync/"];
const UNCOVERED: [&str; 8] = [
    "src/observe/models",
    "src/observe/tests",
    "src/observe/mod.rs",
    "src/lockfree/mod.rs",
    "src/lockfree/epoch.rs",
    "src/sync/mod.rs",
    "src/sync/pushes.rs",
    "src/observe/native/tests",
];

#[derive(Debug)]
pub(crate) struct Mutation {
    pub(crate) name: String,
    pub(crate) number: u64,
    /// Where it changes something, for people.
    pub(crate) place: String,
    pub(crate) files: Vec<String>,
    /// The text that it puts there.
    pub(crate) change: String,
    /// Tests to try first.
    pub(crate) tests: Vec<String>,
    pub(crate) with: With,
    /// `None` for an ordering.
    pub(crate) patch: Option<Patch>,
}

#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) sources: BTreeMap<String, String>,
    pub(crate) mutations: Vec<Mutation>,
    /// The text that is compiled in place of each file.
    pub(crate) edits: BTreeMap<String, Vec<(u64, Edit)>>,
    /// Models, from the quickest to the slowest.
    pub(crate) models: Vec<String>,
    /// Mutations that cannot be applied, and other lists that do not agree with the sources.
    pub(crate) findings: Vec<String>,
    /// The orderings whose function has another name than in the list.
    pub(crate) moved: usize,
    /// The files of each patch, with it, and whether it no longer agrees with them word by word.
    pub(crate) patched: Vec<(String, BTreeMap<String, String>, bool)>,
}

pub(crate) fn plan(root: &Path) -> Result<Plan> {
    let mut plan = Plan::default();
    for folder in FOLDERS {
        for path in tree::files(root, folder)? {
            if path.ends_with(".rs") {
                let text = tree::read(&root.join(&path))?;
                plan.sources.insert(path, text);
            }
        }
    }
    let mut parsed = BTreeMap::new();
    for path in tree::files(root, "tests/mutations")? {
        if let Some(slug) = path
            .strip_suffix(".patch")
            .and_then(|path| path.rsplit('/').next())
        {
            let patch = Patch::parse(slug, &tree::read(&root.join(&path))?)
                .map_err(|error| format!("{path}: {error}"))?;
            if let Err(error) = plan.add(patch, &mut parsed) {
                plan.findings.push(format!("STALE    {path}: {error}"));
            }
        }
    }
    plan.add_orderings(root, &mut parsed)?;
    plan.look_over_tests(root)?;
    plan.look_for_gaps();
    Ok(plan)
}

fn parse<'a>(
    path: &str,
    text: &str,
    parsed: &'a mut BTreeMap<String, syn::File>,
) -> Result<&'a syn::File> {
    if !parsed.contains_key(path) {
        let file = syn::parse_file(text).map_err(|error| format!("{path}: {error}"))?;
        parsed.insert(path.to_owned(), file);
    }
    Ok(&parsed[path])
}

impl Plan {
    fn add(&mut self, patch: Patch, parsed: &mut BTreeMap<String, syn::File>) -> Result<()> {
        let number = switch::number(&patch.slug);
        let (mut files, mut change, mut all) = (BTreeMap::new(), String::new(), Vec::new());
        let mut is_drifted = false;
        for (path, changes) in &patch.files {
            let named = self
                .sources
                .get(path)
                .ok_or_else(|| "there is no such file".to_owned());
            let (path, applied) = match named.and_then(|text| patch::apply(changes, text, true)) {
                Ok(applied) => (path, applied),
                // The code may be in another file by now.
                Err(error) => {
                    let others = self.sources.iter().filter(|(other, _)| *other != path);
                    let mut found = others.filter_map(|(other, text)| {
                        Some((other, patch::apply(changes, text, false).ok()?))
                    });
                    match (found.next(), found.next()) {
                        (Some((other, applied)), None) => (
                            other,
                            patch::Applied {
                                drifted: true,
                                ..applied
                            },
                        ),
                        _ => return Err(format!("{path}: {error}")),
                    }
                }
            };
            let file = parse(path, &self.sources[path], parsed)?;
            let edits = switch::patched(file, &applied.text, number)
                .map_err(|error| format!("{path}: {error}"))?;
            change.extend(edits.iter().map(|edit| edit.text.as_str()));
            is_drifted |= applied.drifted;
            all.push((path.clone(), edits));
            files.insert(path.clone(), applied.text);
        }
        for (path, edits) in all {
            let edits = edits.into_iter().map(|edit| (number, edit));
            self.edits.entry(path).or_default().extend(edits);
        }
        let patched = (patch.slug.clone(), files.clone(), is_drifted);
        self.patched.push(patched);
        self.mutations.push(Mutation {
            name: patch.breaks.clone(),
            number,
            place: files.keys().cloned().collect::<Vec<_>>().join(", "),
            files: files.keys().cloned().collect(),
            change,
            tests: patch.caught_by.clone(),
            with: patch.with,
            patch: Some(patch),
        });
        Ok(())
    }

    fn add_orderings(
        &mut self,
        root: &Path,
        parsed: &mut BTreeMap<String, syn::File>,
    ) -> Result<()> {
        let starts = |path: &str, prefixes: &[&str]| prefixes.iter().any(|p| path.starts_with(p));
        let mut found = Vec::new();
        for (path, text) in &self.sources {
            let names = ["Acquire", "Release", "AcqRel"];
            if !starts(path, &STAND_INS) && names.iter().any(|name| text.contains(name)) {
                let (orderings, hidden) = switch::orderings(path, parse(path, text, parsed)?);
                let hidden = hidden.iter().map(|at| format!("MISSED   {at}"));
                self.findings.extend(hidden);
                found.extend(orderings.into_iter().map(|ordering| (path, ordering)));
            }
        }
        let text = tree::read(&root.join("tests/mutations/orderings.txt"))?;
        let listed: BTreeMap<_, _> = text
            .lines()
            .filter_map(|line| line.split_once('\t'))
            .collect();
        let names: BTreeSet<_> = found
            .iter()
            .flat_map(|(_, ordering)| &ordering.names)
            .collect();
        let mut gone: Vec<_> = listed
            .keys()
            .filter(|name| !names.contains(&(**name).to_owned()))
            .collect();
        for (path, ordering) in found {
            let change = ordering.edit.text.clone();
            let has_models = !starts(path, &WITHOUT_MODELS);
            if has_models {
                let edits = self.edits.entry(path.clone()).or_default();
                edits.push((switch::number(&ordering.names[0]), ordering.edit));
            }
            for name in ordering.names {
                // Its function may have another name by now.
                let is_it = |old: &&&str| {
                    let call = |name: &str| name.split_once(": ").map(|(_, call)| call.to_owned());
                    old.starts_with(&format!("{path} ")) && call(old) == call(&name)
                };
                let test = listed.get(name.as_str()).copied().or_else(|| {
                    let i = gone.iter().position(is_it)?;
                    self.moved += 1;
                    Some(listed[gone.remove(i)])
                });
                if !has_models && !test.is_some_and(|test| test.starts_with("argued: ")) {
                    self.findings.push(format!(
                        "MISSED   {name}: no model can run it, so tests/mutations/orderings.txt needs \
                         a line `{name}\targued: REASON`"
                    ));
                    continue;
                }
                self.mutations.push(Mutation {
                    number: switch::number(&name),
                    place: format!("{path}:{}", ordering.line),
                    files: vec![path.clone()],
                    change: change.clone(),
                    tests: test.map(str::to_owned).into_iter().collect(),
                    with: With::Loom,
                    patch: None,
                    name,
                });
            }
        }
        self.findings.extend(gone.iter().map(|name| {
            format!("STALE    tests/mutations/orderings.txt: there is no ordering {name}")
        }));
        Ok(())
    }

    /// Compares the lists of tests with the tests.
    fn look_over_tests(&mut self, root: &Path) -> Result<()> {
        let listed = tree::read(&root.join("tests/mutations/models.txt"))?;
        self.models = listed
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(str::to_owned)
            .collect();
        let mut models = BTreeSet::new();
        let mut tests = BTreeSet::new();
        for (path, text) in &self.sources {
            let module = path
                .strip_prefix("src/observe/models/")
                .and_then(|path| path.strip_suffix(".rs"));
            let tokens = patch::tokens(text);
            let words = tokens.windows(5).filter(|words| words[0].text == "fn");
            tests.extend(words.map(|words| words[1].text.to_owned()));
            for words in tokens.windows(6).filter(|_| module.is_some()) {
                if words[0].text == "#" && words[2].text == "test" && words[4].text == "fn" {
                    models.insert(format!(
                        "observe::models::{}::{}",
                        module.unwrap_or_default(),
                        words[5].text
                    ));
                }
            }
        }
        for model in models.iter().filter(|model| !self.models.contains(model)) {
            self.findings.push(format!(
                "MISSED   the model {model} is not in tests/mutations/models.txt"
            ));
        }
        for model in self.models.iter().filter(|model| !models.contains(*model)) {
            self.findings.push(format!(
                "STALE    tests/mutations/models.txt: there is no model {model}"
            ));
        }
        for path in tree::files(root, "tests")?
            .iter()
            .filter(|path| path.ends_with(".rs"))
        {
            let text = tree::read(&root.join(path))?;
            let tokens = patch::tokens(&text);
            let words = tokens.windows(2).filter(|words| words[0].text == "fn");
            tests.extend(words.map(|words| words[1].text.to_owned()));
        }
        for mutation in &self.mutations {
            let is_argued = |test: &str| test.starts_with("argued: ");
            for test in mutation.tests.iter().filter(|test| !is_argued(test)) {
                if !test
                    .rsplit("::")
                    .next()
                    .is_some_and(|name| tests.contains(name))
                {
                    self.findings.push(format!(
                        "STALE    {}: there is no test {test}",
                        mutation.name
                    ));
                }
            }
            if mutation.tests.is_empty() && mutation.with != With::Loom {
                self.findings.push(format!(
                    "STALE    {}: no line `caught-by: TEST`",
                    mutation.name
                ));
            }
        }
        Ok(())
    }

    /// Finds files with an atomic of their own or an unsafe block that nothing here touches.
    fn look_for_gaps(&mut self) {
        for (path, text) in &self.sources {
            let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| path.starts_with(prefix));
            if !starts(&COVERED) || starts(&UNCOVERED) || self.edits.contains_key(path) {
                continue;
            }
            let tokens = patch::tokens(text);
            let is_unsafe = tokens.windows(2).any(|words| {
                words[0].text == "unsafe" && ["{", "fn", "impl"].contains(&words[1].text)
            });
            if is_unsafe
                || tokens
                    .iter()
                    .any(|word| ["AtomicPtr", "AtomicU64", "AtomicBool"].contains(&word.text))
            {
                self.findings.push(format!(
                    "MISSED   {path} has atomics or unsafe code, and nothing here touches it"
                ));
            }
        }
    }
}
