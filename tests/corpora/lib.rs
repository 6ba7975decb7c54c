//! A stand-in for libFuzzer: `fuzz_target!` makes a program that runs each committed input once.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The inputs of a target, by name: its seeds, and what the fuzzer found.
fn inputs(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let fuzz = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz"));
    let unpacked = std::env::temp_dir().join(format!("tallies-{}-{target}", std::process::id()));
    std::fs::create_dir(&unpacked).unwrap();
    let tar = Command::new("tar")
        .arg("-xzf")
        .arg(fuzz.join("corpus.tar.gz"))
        .arg("-C")
        .arg(&unpacked)
        .status();
    assert!(tar.expect("tar unpacks the corpus").success());
    let mut inputs = Vec::new();
    for folder in [fuzz.join("seeds"), unpacked.join("corpus")] {
        let Ok(files) = std::fs::read_dir(folder.join(target)) else {
            continue;
        };
        for file in files {
            let path = file.unwrap().path();
            let bytes = std::fs::read(&path).unwrap();
            inputs.push((path, bytes));
        }
    }
    std::fs::remove_dir_all(unpacked).unwrap();
    inputs
}

/// Runs `law` on every input of the target whose source is `file`, or lists the one test there is.
pub fn replay(file: &str, mut law: impl FnMut(&[u8])) {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if has("--list") {
        if !has("--ignored") {
            println!("holds: test");
        }
        return;
    }
    let target = Path::new(file).file_stem().unwrap().to_str().unwrap();
    let inputs = inputs(target);
    assert!(!inputs.is_empty(), "`{target}` has no inputs");
    for (path, bytes) in &inputs {
        let named = Named(path);
        law(bytes);
        std::mem::forget(named);
    }
    println!("{target}: {} inputs hold", inputs.len());
}

/// Names the input while a law panics.
struct Named<'a>(&'a Path);

impl Drop for Named<'_> {
    fn drop(&mut self) {
        eprintln!("the input is {}", self.0.display());
    }
}

/// Defines `main`, which replays the inputs of this file. Takes what libFuzzer's macro takes.
#[macro_export]
macro_rules! fuzz_target {
    (|$data:ident: &[u8]| $law:block) => {
        fn main() {
            $crate::replay(file!(), |$data: &[u8]| $law);
        }
    };
    (|$data:ident: $type:ty| $law:block) => {
        fn main() {
            $crate::replay(file!(), |bytes: &[u8]| {
                let bytes = $crate::arbitrary::Unstructured::new(bytes);
                let Ok($data) = <$type as $crate::arbitrary::Arbitrary>::arbitrary_take_rest(bytes)
                else {
                    return;
                };
                $law
            });
        }
    };
}

pub use arbitrary;
