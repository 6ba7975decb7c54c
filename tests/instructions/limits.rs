//! The instructions of every update, so that none becomes slower unnoticed.
//!
//! Callgrind counts the instructions of `n` updates and of `2n` of them; the difference is exact. A
//! loop is counted with them: see the rows `nothing` and `value`. Limits are a little above what
//! Rust 1.95 on x86-64 needs.
//! `cargo test --profile bench -p tallies-instructions --test instructions -- --nocapture` prints
//! the counts.

use std::path::Path;
use std::process::Command;

/// The compiler of these limits. With another one the counts are only printed.
const PINNED: &str = "rustc 1.95.";

/// The most instructions per update.
const LIMITS: &[(&str, f64)] = &[
    ("nothing", 4.4),
    ("value", 5.5),
    ("counter", 10.5),
    ("float counter", 17.5),
    ("counter, bound", 19.5),
    ("counter, bound, cold", 62.0),
    ("counter, two strings", 215.0),
    ("counter, two strings, cold", 250.0),
    ("counter, enum", 14.0),
    ("gauge", 11.5),
    ("gauge, bound", 28.0),
    ("up and down", 17.0),
    ("histogram", 56.0),
    ("histogram, bound", 68.0),
    ("histogram, bound, cold", 162.0),
    ("event", 82.0),
    ("event, enum", 118.0),
    ("event, bound, cold", 226.0),
    ("histogram, close bounds", 240.0),
    ("native histogram", 58.0),
    ("native histogram, fixed buckets", 120.0),
    ("recorder", 152.0),
    ("summary", 129.0),
    ("counter, off", 10.5),
    ("counter, two strings, off", 190.0),
    ("counter, enum, off", 315.0),
    ("gauge, off", 32.0),
    ("histogram, off", 46.0),
    ("summary, off", 46.0),
    ("counter, dropped label", 215.0),
    ("counter, dropped label, many values", 230.0),
    ("counter, dropped label, new values", 1650.0),
    ("counter, dropped enum", 340.0),
    ("histogram, bounds of a view", 56.0),
    ("histogram, native by a view", 155.0),
];

/// The number of updates. Enough for a summary to reach the size of its sketch. The start of the
/// program differs by some 20 000 instructions from run to run, which is 0.05 for each update.
const N: u64 = 400_000;

/// How many more instructions an update may need if its cell is in a mapped file, since the start
/// of the program differs by more than without one.
const MAPPED: f64 = 0.3;

/// The part by which look-ups of label sets differ from run to run: each run hashes with another
/// seed.
const LOOK_UP: f64 = 0.02;

fn instructions(update: &str, n: u64, directory: Option<&Path>) -> u64 {
    let run = Command::new("valgrind")
        .envs(directory.map(|path| ("TALLIES_INSTRUCTIONS", path)))
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .args([env!("CARGO_BIN_EXE_updates"), update, &n.to_string()])
        .output()
        .expect("valgrind is installed, for example by `tests/run.sh instructions`");
    let log = String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "{update}: {log}");
    let count = log
        .split("Collected : ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    count.expect("callgrind prints its count").parse().unwrap()
}

#[test]
#[cfg_attr(not(target_arch = "x86_64"), ignore = "the limits are those of x86-64")]
fn no_update_takes_more_instructions_than_its_limit() {
    let names = Command::new(env!("CARGO_BIN_EXE_updates"))
        .output()
        .unwrap()
        .stdout;
    let names = String::from_utf8(names).unwrap();
    assert!(
        names.lines().eq(LIMITS.iter().map(|(name, _)| *name)),
        "one limit per update"
    );
    let mut slower = Vec::new();
    for (update, limit) in LIMITS {
        let looks_up = update.contains("strings") || update.contains("label");
        let once = |directory: Option<&Path>| {
            let more = std::thread::scope(|scope| {
                let once = scope.spawn(|| instructions(update, N, directory));
                instructions(update, 2 * N, directory) - once.join().unwrap()
            });
            more as f64 / N as f64
        };
        // A look-up that is above its limit has three more seeds: none makes the code shorter.
        let each = |directory, limit: f64| {
            let mut least = once(directory);
            for _ in 0..if looks_up { 3 } else { 0 } {
                if least > limit {
                    least = least.min(once(directory));
                }
            }
            least
        };
        let heap = each(None, *limit);
        println!("{heap:7.1} of {limit:5.1} {update}");
        if heap > *limit {
            slower.push(*update);
        }
        if cfg!(feature = "mmap") {
            let directory =
                std::env::temp_dir().join(format!("tallies-instructions-{}", std::process::id()));
            let seed = if looks_up { LOOK_UP } else { 0.0 };
            let limit = heap + MAPPED + heap * seed;
            let mapped = each(Some(&directory), limit);
            std::fs::remove_dir_all(&directory).unwrap();
            println!("{mapped:7.1} of {heap:5.1} {update}, in mapped files");
            if mapped > limit {
                slower.push(*update);
            }
        }
    }
    let version = Command::new("rustc").arg("--version").output().unwrap();
    if !version.stdout.starts_with(PINNED.as_bytes()) {
        println!("not compared: the limits are those of {PINNED}*");
        return;
    }
    assert!(
        slower.is_empty(),
        "more instructions than their limits: {slower:?}"
    );
}
