//! `cargo xtask mutate`: a model or a test has to fail for each mutation. What none catches is a
//! finding.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Instant;

use crate::patch::{self, With};
use crate::plan::{FOLDERS, Mutation, Plan, plan};
use crate::run::{self, Memory, Program, Verdict};
use crate::switch;
use crate::tree::{self, Result};

/// Tests with real threads that also have to pass as they are: no other step runs them optimized,
/// when they try longer and more orders.
const OPTIMIZED: &str = "snapshot::sketch::";

pub(crate) fn main(root: &Path, arguments: &[String]) -> Result<bool> {
    let (options, words): (Vec<_>, Vec<_>) =
        arguments.iter().partition(|word| word.starts_with("--"));
    let options: Vec<_> = options.into_iter().map(String::as_str).collect();
    let has = |name: &str| options.contains(&name);
    let known = [
        "--check",
        "--refresh",
        "--again",
        "--accept",
        "--list",
        "--new",
    ];
    if let Some(option) = options.iter().find(|option| !known.contains(option)) {
        return Err(format!("no option {option}\n{}", crate::USAGE));
    }
    if has("--new") {
        return new(root, &words);
    }
    let mut plan = plan(root)?;
    let is_all = words.is_empty();
    let is_meant = |mutation: &Mutation| {
        is_all
            || words.iter().any(|word| {
                mutation.name.contains(word.as_str())
                    || mutation
                        .files
                        .iter()
                        .any(|file| file.contains(word.as_str()))
                    || mutation
                        .patch
                        .as_ref()
                        .is_some_and(|patch| patch.slug == **word)
            })
    };
    if !is_all && !plan.mutations.iter().any(is_meant) {
        return Err(format!("no mutation has a name or a file with {words:?}"));
    }
    if has("--list") {
        plan.mutations
            .iter()
            .filter(|m| is_meant(m))
            .for_each(|m| println!("{}\t{}", m.place, m.name));
        return Ok(true);
    }
    let mut moved = plan.moved;
    if has("--refresh") {
        accept(root, &plan, &BTreeMap::new())?;
    }
    for (slug, files, _) in plan.patched.iter().filter(|(.., is_drifted)| *is_drifted) {
        if has("--refresh") {
            refresh(root, &plan, slug, files)?;
        }
        println!("moved    {slug}: found, but not word by word (--refresh makes it again)");
        moved += 1;
    }
    if has("--check") || has("--refresh") {
        plan.findings
            .iter()
            .for_each(|finding| println!("{finding}"));
        let orderings = plan
            .mutations
            .iter()
            .filter(|mutation| mutation.patch.is_none())
            .count();
        println!(
            "{orderings} orderings, {} patches, {moved} of them moved, {} findings",
            plan.mutations.len() - orderings,
            plan.findings.len()
        );
        return Ok(plan.findings.is_empty());
    }

    let begin = Instant::now();
    let others = if is_all { 0 } else { plan.findings.len() };
    let work = root.join("target/mutate");
    let wanted: BTreeSet<_> = plan
        .mutations
        .iter()
        .filter(|m| is_meant(m))
        .map(|m| m.with)
        .collect();
    let programs = build(root, &work, &mut plan, &wanted)?;
    plan.findings
        .iter()
        .for_each(|finding| println!("{finding}"));
    println!("built in {} s", begin.elapsed().as_secs());
    let memory = Memory::open(&work.join("caught"))?;
    let session = Session {
        plan: &plan,
        programs: &programs,
        memory: &memory,
        work: &work,
        again: has("--again"),
    };
    let meant: Vec<_> = plan
        .mutations
        .iter()
        .filter(|mutation| is_meant(mutation))
        .collect();
    if !session.pass_as_they_are(&meant, is_all)? {
        return Ok(false);
    }
    let results = Mutex::new(BTreeMap::new());
    // A patch that moved may do something else where it is now.
    let findings = plan.findings.len() - others + if is_all { moved } else { 0 };
    let missed = AtomicUsize::new(findings);
    each(&meant, |worker, mutation| {
        let began = Instant::now();
        let (report, test) = session.judge(mutation, worker)?;
        let is_caught = report.starts_with("caught") || report.starts_with("argued");
        println!("{report} ({} s)", began.elapsed().as_secs());
        missed.fetch_add(usize::from(!is_caught), Relaxed);
        results
            .lock()
            .expect("no panic here")
            .insert(mutation.number, test);
        Ok(())
    })?;
    if has("--accept") {
        accept(root, &plan, &results.into_inner().expect("no panic here"))?;
    }
    let missed = missed.into_inner();
    println!(
        "{} mutations, {missed} missed ({} s)",
        meant.len(),
        begin.elapsed().as_secs()
    );
    Ok(missed == 0)
}

/// Builds programs with all mutations, but for those that do not compile.
fn build(
    root: &Path,
    work: &Path,
    plan: &mut Plan,
    wanted: &BTreeSet<With>,
) -> Result<BTreeMap<With, Program>> {
    loop {
        let edited: BTreeMap<_, _> = plan
            .edits
            .iter()
            .map(|(path, edits)| {
                let edits = edits.iter().map(|(_, edit)| edit.clone()).collect();
                (path.as_str(), switch::replace(&plan.sources[path], edits))
            })
            .collect();
        let edit = |path: &str| match edited.get(path) {
            Some(text) => Some(text.clone()),
            None if path == "src/sync/mod.rs" => {
                Some(plan.sources[path].clone() + switch::FUNCTIONS)
            }
            None if path == "crates/redis/src/lib.rs" => {
                let functions = switch::FUNCTIONS;
                let sync = format!("mod sync {{ use std::sync::atomic::fence;\n{functions} }}\n");
                Some(plan.sources[path].clone() + &sync)
            }
            // As many and as long orders as in a release, where there are no debug assertions.
            None if path.starts_with("src/snapshot/sketch/tests/") => {
                Some(plan.sources[path].replace("cfg!(debug_assertions)", "false"))
            }
            None => plan.sources.get(path).cloned(),
        };
        let tree = |with| work.join(["tree", "workspace"][usize::from(with == With::Tests)]);
        if wanted.iter().any(|with| *with != With::Tests) {
            tree::copy(root, &tree(With::Loom), &edit)?;
        }
        if wanted.contains(&With::Tests) {
            tree::copy_all(root, &tree(With::Tests), &edit)?;
        }
        let built = std::thread::scope(|scope| {
            let build = |with| run::build(root, &tree(with), with, plan);
            let threads: Vec<_> = wanted
                .iter()
                .map(|&with| (with, scope.spawn(move || build(with))))
                .collect();
            threads
                .into_iter()
                .map(|(with, thread)| Ok((with, thread.join().expect("no panic there")?)))
                .collect::<Result<Vec<_>>>()
        })?;
        let (mut programs, mut failed) = (BTreeMap::new(), None);
        for (with, program) in built {
            match program {
                Ok(program) => _ = programs.insert(with, program),
                Err(broken) => failed = Some(broken),
            }
        }
        let Some(broken) = failed else {
            return Ok(programs);
        };
        let mut at_fault = BTreeSet::new();
        for (path, line, message) in &broken.errors {
            let Some(text) = edited.get(path.as_str()) else {
                continue;
            };
            // The innermost switch that begins before the error.
            let start: usize = text.split_inclusive('\n').take(*line).map(str::len).sum();
            let switch = text[..start]
                .rfind("crate::sync::mutated(")
                .map(|i| &text[i + 21..]);
            let number = switch.and_then(|text| text.split(')').next()?.parse::<u64>().ok());
            if let Some(mutation) = plan
                .mutations
                .iter()
                .find(|mutation| Some(mutation.number) == number)
            {
                if at_fault.insert(mutation.number) {
                    let name = &mutation.name;
                    plan.findings.push(format!(
                        "STALE    {name}: does not compile: {message} ({path})"
                    ));
                }
            }
        }
        if at_fault.is_empty() {
            return Err(format!("{}\nthe tests do not compile", broken.log));
        }
        plan.mutations
            .retain(|mutation| !at_fault.contains(&mutation.number));
        plan.edits
            .values_mut()
            .for_each(|edits| edits.retain(|(number, _)| !at_fault.contains(number)));
    }
}

/// Calls `judge` for each, on all processors.
fn each<T: Sync>(items: &[T], judge: impl Fn(usize, &T) -> Result<()> + Sync) -> Result<()> {
    let queue = Mutex::new(items.iter().collect::<VecDeque<_>>());
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        let work = |worker| {
            loop {
                let next = queue.lock().expect("no panic here").pop_front();
                match next {
                    Some(item) => judge(worker, item)?,
                    None => return Ok(()),
                }
            }
        };
        let threads: Vec<_> = (0..workers)
            .map(|worker| scope.spawn(move || work(worker)))
            .collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().expect("no panic there"))
    })
}

struct Session<'a> {
    plan: &'a Plan,
    programs: &'a BTreeMap<With, Program>,
    memory: &'a Memory,
    work: &'a Path,
    again: bool,
}

impl Session<'_> {
    /// Runs the tests without a mutation.
    fn pass_as_they_are(&self, meant: &[&Mutation], is_all: bool) -> Result<bool> {
        let mut tests: BTreeSet<(With, &str)> = meant
            .iter()
            .flat_map(|mutation| {
                mutation
                    .tests
                    .iter()
                    .map(|test| (mutation.with, test.as_str()))
            })
            .filter(|(_, test)| !test.starts_with("argued: "))
            .collect();
        if is_all {
            let models = self.plan.models.iter();
            tests.extend(models.map(|model| (With::Loom, model.as_str())));
            tests.insert((With::Threads, OPTIMIZED));
        }
        let tests: Vec<_> = tests.into_iter().collect();
        let failed = AtomicUsize::new(0);
        each(&tests, |worker, &(with, test)| {
            let program = &self.programs[&with];
            let key = program.key(test, "passes as it is");
            if self.memory.get(key).is_some() {
                return Ok(());
            }
            let verdict = program.run(test, 0, &self.log(worker))?;
            if verdict == Verdict::Passes {
                self.memory.add(key, "passes");
            } else {
                println!("FAIL     {test}, without a mutation: {verdict:?}");
                failed.fetch_add(1, Relaxed);
            }
            Ok(())
        })?;
        Ok(failed.into_inner() == 0)
    }

    fn log(&self, worker: usize) -> std::path::PathBuf {
        self.work.join(format!("worker-{worker}.log"))
    }

    /// The report of one mutation, and the test that catches it.
    fn judge(&self, mutation: &Mutation, worker: usize) -> Result<(String, Option<String>)> {
        let name = &mutation.name;
        if let Some(reason) = mutation
            .tests
            .iter()
            .find_map(|test| test.strip_prefix("argued: "))
        {
            return Ok((format!("argued   {name}: {reason}"), None));
        }
        let program = &self.programs[&mutation.with];
        let key = program.key(name, &mutation.change);
        if let Some(test) = self.memory.get(key).filter(|_| !self.again) {
            return Ok((
                format!("caught   {name}: {test}, as before"),
                Some(test.to_owned()),
            ));
        }
        let mut late = String::new();
        for test in self.order(mutation) {
            match program.run(test, mutation.number, &self.log(worker))? {
                Verdict::Passes => {}
                // Threads and servers have other reasons to fail.
                Verdict::Fails
                    if mutation.with != With::Loom
                        && program.run(test, 0, &self.log(worker))? != Verdict::Passes =>
                {
                    write!(late, " {test}, which fails without it").expect("a string");
                }
                Verdict::Fails => {
                    self.memory.add(key, test);
                    return Ok((format!("caught   {name}: {test}"), Some(test.to_owned())));
                }
                Verdict::OutOfTime => {
                    write!(late, " {test}, which takes too long").expect("a string")
                }
                Verdict::NoSuchTest => {
                    return Ok((format!("STALE    {name}: there is no test {test}"), None));
                }
            }
        }
        let place = &mutation.place;
        Ok(match late.as_str() {
            "" => (format!("MISSED   {name} ({place})"), None),
            late => (format!("UNKNOWN  {name} ({place}):{late}"), None),
        })
    }

    /// The tests for a mutation: what caught it before, then what caught others of its files, then
    /// every model.
    fn order<'a>(&'a self, mutation: &'a Mutation) -> Vec<&'a str> {
        let mut tests: Vec<&str> = mutation.tests.iter().map(String::as_str).collect();
        if mutation.with == With::Loom {
            let is_near = |other: &&Mutation| {
                other.with == With::Loom
                    && other.files.iter().any(|file| mutation.files.contains(file))
            };
            let near = self
                .plan
                .mutations
                .iter()
                .filter(is_near)
                .flat_map(|other| &other.tests);
            let near: BTreeSet<_> = near.map(String::as_str).collect();
            let models = || self.plan.models.iter().map(String::as_str);
            tests.extend(models().filter(|model| near.contains(model)));
            tests.extend(models().filter(|model| !near.contains(model)));
            let mut seen = BTreeSet::new();
            tests.retain(|&test| seen.insert(test));
        }
        tests
    }
}

/// Writes down what caught each mutation.
fn accept(root: &Path, plan: &Plan, results: &BTreeMap<u64, Option<String>>) -> Result<()> {
    let mut orderings = BTreeSet::new();
    for mutation in &plan.mutations {
        let caught = results.get(&mutation.number).cloned().flatten();
        match (
            &mutation.patch,
            caught.or_else(|| mutation.tests.first().cloned()),
        ) {
            (None, Some(test)) => _ = orderings.insert(format!("{}\t{test}\n", mutation.name)),
            (Some(patch), Some(test)) if patch.caught_by.first() != Some(&test) => {
                let path = root.join(format!("tests/mutations/{}.patch", patch.slug));
                let text = tree::read(&path)?;
                let diff = text.split_once("\n\n").map_or("", |(_, diff)| diff);
                let mut tests = vec![test.clone()];
                tests.extend(
                    patch
                        .caught_by
                        .iter()
                        .filter(|other| **other != test)
                        .cloned(),
                );
                tree::write(
                    &path,
                    format!("{}\n{diff}", patch.header(&tests)).as_bytes(),
                )?;
            }
            _ => {}
        }
    }
    let text: String = orderings.into_iter().collect();
    tree::write(&root.join("tests/mutations/orderings.txt"), text.as_bytes())
}

/// Makes a patch again, from the files with it.
fn refresh(root: &Path, plan: &Plan, slug: &str, files: &BTreeMap<String, String>) -> Result<()> {
    let folder = root.join("target/mutate/diff");
    let _ = fs::remove_dir_all(&folder);
    for (path, text) in files {
        tree::write(&folder.join("a").join(path), plan.sources[path].as_bytes())?;
        tree::write(&folder.join("b").join(path), format(text)?.as_bytes())?;
    }
    let diff = diff(&folder, &["--no-index", "--no-prefix", "a", "b"])?;
    let file = root.join(format!("tests/mutations/{slug}.patch"));
    let head = tree::read(&file)?;
    let head = head.split_once("\n\n").map_or("", |(head, _)| head);
    tree::write(&file, format!("{head}\n\n{diff}").as_bytes())
}

fn format(text: &str) -> Result<String> {
    let problem = |error| format!("rustfmt: {error}");
    let mut child = Command::new("rustfmt")
        .args(["--edition", "2024"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(problem)?;
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), text.as_bytes())
        .map_err(problem)?;
    let output = child.wait_with_output().map_err(problem)?;
    let formatted = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(if output.status.success() {
        formatted
    } else {
        text.to_owned()
    })
}

/// Names that nobody changes.
const WORDS: [&str; 18] = [
    "let", "mut", "if", "else", "move", "as", "true", "false", "Some", "None", "u64", "map",
    "load", "store", "Relaxed", "Acquire", "Release", "AcqRel",
];

/// Makes a diff as patches have it: without what changes with every commit, and with so much
/// context that it has the names that it brings, by which a later rename of them is seen.
fn diff(folder: &Path, arguments: &[&str]) -> Result<String> {
    let with_context = |lines: usize| -> Result<String> {
        let output = Command::new("git")
            .args(["diff", "--no-color", "--no-ext-diff", &format!("-U{lines}")])
            .args(arguments)
            .current_dir(folder)
            .output()
            .map_err(|error| format!("git: {error}"))?;
        if !output.status.success() && output.stdout.is_empty() {
            return Err(format!("git: {}", String::from_utf8_lossy(&output.stderr)));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let names = |diff: &str, is_new: bool| -> BTreeSet<String> {
        let lines = diff
            .lines()
            .filter(|line| !line.starts_with("+++") && line.starts_with('+') == is_new);
        let text: String = lines
            .filter_map(|line| line.get(1..))
            .flat_map(|line| [line, "\n"])
            .collect();
        patch::tokens(&text)
            .iter()
            .filter(|token| patch::is_name(token.text))
            .map(|token| token.text.to_owned())
            .collect()
    };
    let whole = with_context(100_000)?;
    let mut wanted = &names(&whole, true) & &names(&whole, false);
    wanted.retain(|name| !WORDS.contains(&name.as_str()));
    let mut best = (usize::MAX, String::new());
    for lines in 3..30 {
        let diff = with_context(lines)?;
        let without = (&wanted - &names(&diff, false)).len();
        if without < best.0 {
            best = (without, diff);
        }
        if without == 0 {
            break;
        }
    }
    let mut diff = String::new();
    for line in best.1.lines() {
        let kept = match line
            .strip_prefix("@@ ")
            .and_then(|rest| rest.split_once(" @@"))
        {
            Some((lines, _)) => format!("@@ {lines} @@"),
            None => line.to_owned(),
        };
        if !line.starts_with("diff ") && !line.starts_with("index ") {
            diff += &kept;
            diff.push('\n');
        }
    }
    Ok(diff)
}

/// Makes a patch of the uncommitted changes.
fn new(root: &Path, words: &[&String]) -> Result<bool> {
    let Some((name, tests)) = words.split_first() else {
        return Err(format!(
            "--new needs a sentence: what it breaks\n{}",
            crate::USAGE
        ));
    };
    let [src, redis] = FOLDERS;
    let diff = diff(root, &["HEAD", "--", src, redis])?;
    if diff.is_empty() {
        return Err(format!("{src} and {redis} have no uncommitted changes"));
    }
    let words: Vec<_> = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    let slug = words.join("-").to_lowercase();
    let mut text = format!("breaks: {name}\n");
    for test in tests {
        text += &format!("caught-by: {test}\n");
    }
    text += &format!("with: {}\n\n{diff}", With::of(tests).name());
    let path = format!("tests/mutations/{slug}.patch");
    if root.join(&path).exists() {
        return Err(format!("{path} is there already"));
    }
    fs::write(root.join(&path), text).map_err(|error| format!("{path}: {error}"))?;
    println!("{path}\n`git restore {src} {redis}`, then `cargo xtask mutate {slug}`");
    Ok(true)
}
