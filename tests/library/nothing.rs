//! Without the engine, a library with metrics is the library without them: the crates that cargo
//! builds, and the instructions.

use std::process::Command;

fn cargo(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    let cargo = cargo
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let output = cargo.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn cargo_builds_this_crate_and_its_macros() {
    let tree = cargo(&["tree", "--edges", "normal,build", "--prefix", "none"]);
    let names: Vec<_> = tree.lines().map(|line| line.split(' ').next()).collect();
    let expected = ["tallies-library", "tallies", "tallies-macros"].map(Some);
    assert_eq!(names, expected, "{tree}");
}

#[test]
fn a_measured_function_has_the_instructions_of_a_bare_one() {
    let file = std::env::temp_dir().join(format!("tallies-{}.s", std::process::id()));
    let emit = format!("--emit=asm={}", file.display());
    let arguments = ["rustc", "--release", "--quiet", "--example", "idle", "--"];
    cargo(&[&arguments[..], &[&emit, "-Ccodegen-units=1"]].concat());
    let assembly = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    for name in ["increment", "double", "parse"] {
        let [bare, measured] = ["bare", "measured"].map(|form| format!("{name}_{form}"));
        let (bare, measured) = (
            instructions(&assembly, &bare),
            instructions(&assembly, &measured),
        );
        assert!(!bare.is_empty(), "{assembly}");
        // The compiler makes one function of two with the same instructions.
        let same = measured.is_empty() || measured == bare;
        assert!(same, "{name}: {measured:#?} is not {bare:#?}");
    }
    assert!(
        !assembly.contains("tallies"),
        "something of tallies is in the program"
    );
}

/// Returns the lines of a function, without directives and with numbers of labels removed.
fn instructions(assembly: &str, name: &str) -> Vec<String> {
    let mut lines = assembly.lines();
    let is_start = |line: &str| line.starts_with('_') && line.contains(name) && line.ends_with(':');
    lines.find(|line| is_start(line));
    let body = lines.take_while(|line| !line.starts_with(".Lfunc_end"));
    let body = body.filter(|line| !line.trim_start().starts_with('.') || line.ends_with(':'));
    let plain = |line: &str| line.split(".L").next().unwrap_or_default().to_owned();
    body.map(plain).collect()
}
