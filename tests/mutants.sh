#!/usr/bin/env bash
# Mutates the modules of pure arithmetic and text with cargo-mutants and runs their unit tests on each
# mutant. Run it by hand: it takes about a hundred minutes on two cores and is not a part of
# tests/run.sh. What it reports as missed is a finding, unless .cargo/mutants.toml leaves it out, with the
# reason.
#
#   tests/mutants.sh               all of it
#   tests/mutants.sh number native only these
set -euo pipefail
cd "$(dirname "$0")/.."
cargo mutants --version >/dev/null 2>&1 || cargo install --quiet --locked cargo-mutants --version 27.1.0

root=$PWD tree=$PWD/target/mutants/tree pure=$PWD/target/mutants/pure results=$PWD/target/mutants/results
rm -rf "$tree" "$pure" && mkdir -p "$tree" "$pure/src/snapshot" "$results"
cp -r Cargo.toml Cargo.lock build.rs README.md macros src "$tree"
cp -r --parents crates/client crates/names crates/check/src/pages "$tree"
export CARGO_TARGET_DIR=$PWD/target/mutants/target CARGO_INCREMENTAL=1 RUST_BACKTRACE=0
export PROPTEST_MAX_SHRINK_ITERS=0 PROPTEST_DISABLE_FAILURE_PERSISTENCE=true
# Bounds mutants whose loops push to a vector forever.
ulimit -v 8000000

profile='
[profile.mutants]
inherits = "test"
debug = false
opt-level = 1

[profile.mutants.package."*"]
opt-level = 2
'
# Without the dependencies of integration tests, a build takes two seconds.
perl -0pi -e 's/^members = .*/members = ["macros", "crates\/names"]/m; s/\[target\.\x27cfg\(not\(loom\)\)\x27\.dev-dependencies\]\n.*?\n\n//s; s/\[profile\.release\.package\]\n.*?(\n\n|\z)//s; s/\[\[example\]\].*?\n\n//sg' "$tree/Cargo.toml"
echo "$profile" >>"$tree/Cargo.toml"

# `native` and `sketch` do not depend on the other modules. In a crate of their own, a mutant takes one
# second.
cp -r src/snapshot/native src/snapshot/sketch "$pure/src/snapshot/" && cp Cargo.lock "$pure/"
printf '#![allow(dead_code, unused_imports, unexpected_cfgs)]\npub mod snapshot;\n' >"$pure/src/lib.rs"
printf 'pub mod native;\npub mod sketch;\n' >"$pure/src/snapshot/mod.rs"
printf '[package]\nname = "pure"\nversion = "0.1.0"\nedition = "2024"\n[dev-dependencies]\nproptest = { version = "1", default-features = false, features = ["std"] }\n%s' "$profile" >"$pure/Cargo.toml"

mutants() { # folder, name, seconds, filter of the tests, files
    local folder=$1 name=$2 seconds=$3 filter=$4
    shift 4
    [[ -z ${only:-} || " $only " == *" $name "* ]] || return 0
    # Ignores the exit code, which reports missed mutants; the results list them.
    (cd "$folder" && cargo mutants --in-place --no-shuffle --baseline=run --build-timeout 90 --profile mutants \
        --config "$root/.cargo/mutants.toml" --cargo-arg=--lib --timeout "$seconds" -o "$results/$name" \
        $(printf -- '-f %s ' "$@") ${features[@]+"${features[@]}"} -- -- $filter) || true
    cat "$results/$name/mutants.out/missed.txt"
}
only=$*
features=(--no-default-features)
mutants "$tree" number 20 encode:: src/encode/number.rs
mutants "$tree" accept 20 encode:: src/encode/accept.rs
mutants "$tree" lines 20 encode:: src/encode/lines.rs
mutants "$tree" labels 20 "--skip sketch" src/snapshot/labels.rs src/snapshot/texts.rs
mutants "$tree" arithmetic 20 "--skip sketch" 'src/snapshot/arithmetic/*.rs'
features=()
mutants "$pure" native 20 snapshot::native 'src/snapshot/native/*.rs'
mutants "$pure" sketch 10 snapshot::sketch 'src/snapshot/sketch/*.rs'
