#!/usr/bin/env bash
# Builds each program of README.md, docs/*.md and crates/*/README.md as a reader would who copies it: as
# it stands, in a package outside of this repository, whose dependencies cargo chooses anew. Runs those
# that end by themselves (```rust, and not ```rust,no_run).
#
#   tests/outside.sh           all of them
#   tests/outside.sh FILE ...  those of these documents
set -euo pipefail
cd "$(dirname "$0")/.."
root=$PWD
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/outside} CARGO_PROFILE_DEV_DEBUG=0
package=$(mktemp -d)
trap 'rm -rf "$package"' EXIT
mkdir -p "$package/src/bin"

# The crates of this repository, with the features that the documents name, and what a reader adds.
{
    printf '[package]\nname = "outside"\nedition = "2024"\n\n[dependencies]\n'
    echo "tallies = { path = \"$root\", features = [\"mmap\", \"process\", \"push\", \"serve\", \"tls\"] }"
    for crate in crates/*/src/lib.rs; do
        crate=${crate#crates/} crate=${crate%%/*}
        echo "tallies-$crate = { path = \"$root/crates/$crate\" }"
    done
    cat <<'END'
axum = "0.8"
clap = { version = "4", features = ["derive"] }
futures-core = "0.3"
log = "0.4"
metrics = "0.24"
prometheus = "0.14"
prometheus-client = "0.25"
reqwest = { version = "0.13", default-features = false }
tokio = { version = "1", features = ["full"] }
tracing = "0.1"
tracing-subscriber = "0.3"
thumbs = { path = "thumbs" }
END
} >"$package/Cargo.toml"

# The library of docs/libraries.md, for the program there.
mkdir -p "$package/thumbs/src"
{
    printf '[package]\nname = "thumbs"\nedition = "2024"\n\n[dependencies]\n'
    echo "tallies = { path = \"$root\", default-features = false }"
} >"$package/thumbs/Cargo.toml"
awk '/^```rust/ { inside = ++n == 1; next } /^```/ { inside = 0 } inside' docs/libraries.md >"$package/thumbs/src/lib.rs"

# Writes the programs to files whose names end in the kind of their block. Statements stand in a `main`
# that returns an error. A block of another crate that is `ignore`d is no program.
[ $# -gt 0 ] || set -- README.md docs/*.md crates/*/README.md
for document in "$@"; do
    name=${document%.md}
    awk -v begin="$package/src/bin/${name//[\/.-]/_}" '
        /^```rust/ { kind = substr($0, 8); inside = 1; program = ""; next }
        /^```$/ && inside {
            inside = 0
            file = begin "_" ++n (kind == "" ? "_runs" : "_builds") ".rs"
            if (kind == ",ignore" && program !~ /tallies/) next
            if (program !~ /fn main\(\)/)
                program = "fn main() -> Result<(), Box<dyn std::error::Error>> {\n" program "Ok(())\n}\n"
            printf "%s", program >file
        }
        inside { program = program $0 "\n" }
    ' "$document"
done
programs=$(cd "$package/src/bin" && ls)
echo "$(wc -l <<<"$programs") programs"
# Names that nobody uses are no mistakes of a document.
RUSTFLAGS="-A unused" cargo build --quiet --manifest-path "$package/Cargo.toml" --bins
for program in $programs; do
    case $program in
    *_runs.rs) timeout 60 "$CARGO_TARGET_DIR/debug/${program%.rs}" >/dev/null || {
        echo "$program fails" >&2
        exit 1
    } ;;
    esac
done
