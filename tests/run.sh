#!/usr/bin/env bash
# Proves what README promises. On a fresh Debian machine it installs what is missing (tests/tools.sh).
#
#   tests/run.sh                   all that a change can break: 15 minutes on two cores, from nothing
#   tests/run.sh --quick           formatting, lints, tests without servers: 2 minutes when warm
#   tests/run.sh --all             everything; writes tests/proven.txt
#   tests/run.sh --all STEP ...    the same for these steps
#   tests/run.sh --long            everything, with an hour of fuzzing per target and soaks
#   tests/run.sh STEP ...          these steps
#
# The steps in `proofs` are long: models, mutations, sanitizers, emulators. The first form leaves one
# out only if tests/proven.txt has the fingerprint of its inputs, that is, if nothing has changed
# since `--all` last ran it. `inputs` below lists them.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/tools.sh
export CARGO_TERM_COLOR=never RUST_BACKTRACE=1
unset RUSTFLAGS

# Those of `checks` run beside those of `tests`: each line has a target folder of its own.
checks="clippy features oldest docs api"
tests="cargo tests load package"
proofs="models miri address thread fuzz instructions mutations"
# Only by `--all`: other platforms, and other versions of other crates.
elsewhere="platforms versions"
everything="format $checks $tests $proofs $elsewhere"
proven=tests/proven.txt
fuzz_seconds=12

circle=steps
case ${1:-} in
"") circle=short steps="format $checks $tests $proofs" ;;
--quick) circle=quick steps="format clippy tests" ;;
--all) circle=all && shift && steps=${*:-$everything} ;;
--long) circle=all steps="$everything soak" fuzz_seconds=3600 ;;
*) steps=$* ;;
esac
for step in $steps; do
    [[ " $everything soak " == *" $step "* ]] || {
        echo "no step \`$step\`; there are: $everything soak" >&2
        exit 2
    }
done

# ---- What is proven ----

# The sources, tests and models on which the result of a proof depends. Memory safety and orderings
# depend on modules with unsafe code or atomics alone: safe code cannot break them.
inputs() {
    local engine="src/lockfree src/observe src/mapped src/sync build.rs tests/everything.rs"
    case $1 in
    models | thread) echo "$engine" ;;
    miri) echo "$engine src/share/files/read" ;;
    address) echo "$engine tests/engine tests/declare tests/leaks.txt" ;;
    platforms) echo "$engine src/clock.rs src/process src/share/files tests/platforms.sh" ;;
    versions) echo "Cargo.toml Cargo.lock" ;;
    fuzz) echo "src/encode src/snapshot src/share/files/read src/serve/*.rs src/family/grammar.rs src/family/label.rs fuzz" ;;
    instructions) echo "$engine src/clock.rs src/declare src/family src/registry macros tests/instructions Cargo.toml" ;;
    mutations) echo "$engine src/declare/exemplar.rs src/family src/registry src/share src/snapshot tests/integration/redis tests/mutations tests/share xtask" ;;
    esac
}
# The crates that these modules are built on, as the lock file has them.
crates='^(ahash|atomic_float|crossbeam-epoch|crossbeam-utils|dashmap|hashbrown|linkme|loom|rustix) '
# Comments and blank lines of Rust sources do not count.
fingerprint() { # proof
    {
        rustc --version
        sed -n '/^name = /{s/.*"\(.*\)"/\1/;N;s/\nversion = "\(.*\)"/ \1/p}' Cargo.lock | grep -E "$crates"
        # shellcheck disable=SC2046
        git ls-files -z --cached --others --exclude-standard -- $(inputs "$1") | LC_ALL=C sort -z |
            xargs -0 awk 'FNR == 1 { print "==", FILENAME } FILENAME ~ /\.rs$/ && /^[ \t]*(\/\/|$)/ { next } { print }'
    } | sha256sum | cut -d ' ' -f 1
}
is_proven() { grep -qx "$1 $(fingerprint "$1")" "$proven" 2>/dev/null; }
is_proof() { [[ " $proofs $elsewhere " == *" $1 "* ]]; }
note_proof() { # proof, fingerprint when it began
    [ "$2" = "$(fingerprint "$1")" ] || {
        echo "the inputs of $1 changed while it ran" >&2
        exit 1
    }
    { grep -v "^$1 " "$proven" 2>/dev/null || true; echo "$1 $2"; } | LC_ALL=C sort >target/proven.txt
    mv target/proven.txt "$proven"
}

# ---- Formatting, lints, features, documentation, API ----

step_format() {
    cargo fmt --all --check
    for folder in fuzz benches/peers benches/http; do (cd $folder && cargo fmt --check); done
}
step_clippy() {
    cargo clippy --quiet --workspace --all-targets --all-features -- -D warnings
}
step_docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc -p tallies --quiet --no-deps --all-features --document-private-items
}
step_features() {
    cargo_tool hack cargo-hack 0.6.37
    cargo hack check --quiet -p tallies --lib --each-feature --exclude-no-default-features --exclude-all-features
    cargo clippy -p tallies --quiet --lib --no-default-features -- -D warnings
    # The dependencies of a program that enables no features.
    cargo tree -p tallies --quiet --edges normal --depth 1
}
# Reads `docs/platforms.md`: the oldest Rust of each feature.
step_oldest() {
    local version features
    while IFS='|' read -r _ features version _; do
        version=${version//[\` ]/} features=${features//[\` ]/}
        rustup toolchain list | grep -q "^$version" || rustup toolchain install "$version" --profile minimal
        echo "Rust $version: ${features:-default features}"
        CARGO_TARGET_DIR=$CARGO_TARGET_DIR/oldest cargo "+$version" check -p tallies --quiet --lib --features "$features"
        # The first row has most features; the others need a toolchain each.
        [ $circle = all ] || break
    done < <(sed -n '/^| features | oldest Rust/,/^$/p' docs/platforms.md | grep -E '^\| .*[0-9]\.[0-9]+')
}
step_api() {
    cargo test --quiet -p tallies-api --test api
}

# ---- Tests ----

# As a new user types it: no servers, no root, no flags.
step_cargo() {
    cargo test --quiet
    cargo bench --no-run --quiet
}
# Everything with all features; the servers are those of other people.
step_tests() {
    command -v cargo-nextest >/dev/null || cargo install --quiet --locked --debug cargo-nextest --version 0.9.143
    local only=(--profile default)
    if [ $circle = quick ]; then only=(--profile quick); else tools_for_servers; fi
    # Tests that run examples build them; here for all of them at once.
    cargo build --quiet --workspace --all-features --examples
    TALLIES_LIVES=${TALLIES_LIVES:-1000} cargo nextest run --workspace --all-features --lib --bins --test '*' \
        --exclude tallies-instructions --exclude tallies-api --no-fail-fast "${only[@]}"
    # Statics of one program, shared by its tests.
    cargo test --quiet --workspace --all-features --test testing
    cargo test --quiet --workspace --all-features --doc
}
step_load() { tests/load.sh exact 3; }
step_package() {
    # Without a build: tests/release.sh builds what is published, from its archives.
    cargo package --quiet -p tallies-macros -p tallies -p tallies-cli --no-verify --allow-dirty
}

# ---- Proofs ----

step_models() {
    RUSTFLAGS="--cfg loom" timeout 900 cargo test -p tallies --release --lib models::
}
# Tree borrows, because the lists of crossbeam-epoch violate stacked borrows. Leaks are ignored,
# because shards live as long as the process. Modules without unsafe code are left out.
step_miri() {
    nightly_component miri
    nightly_component rust-src
    MIRIFLAGS="-Zmiri-permissive-provenance -Zmiri-tree-borrows -Zmiri-disable-isolation -Zmiri-ignore-leaks" \
        cargo +nightly miri test -p tallies --lib -- lockfree:: observe:: \
        --skip observe::window --skip observe::bucket_index --skip observe::slot --skip observe::native::key
}
# Skipped tests leak on purpose: payloads that panic when they are dropped, and a cycle of a
# collector and its own service. The sketch has no unsafe code.
step_address() {
    LSAN_OPTIONS="suppressions=$PWD/tests/leaks.txt:print_suppressions=0" RUSTFLAGS="-Zsanitizer=address" \
        cargo +nightly test -p tallies --quiet --target x86_64-unknown-linux-gnu --all-features --lib \
        --test everything --test engine --test declare -- --skip regressions::collectors --skip sketch::
}
# Builds the standard library, too, so that ThreadSanitizer sees its locks.
step_thread() {
    nightly_component rust-src
    (cd "$(small_tree)" && RUSTFLAGS="-Zsanitizer=thread" cargo +nightly test -Zbuild-std --quiet --release \
        --target x86_64-unknown-linux-gnu --test everything)
}
step_platforms() { tests/platforms.sh; }
# The oldest releases of other crates that the manifest admits, and the newest ones.
step_versions() {
    local tree=$CARGO_TARGET_DIR/versions
    rm -rf "$tree" && mkdir -p "$tree"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tree"
    (cd "$tree" && cargo +nightly -Zdirect-minimal-versions update --quiet && cargo check --quiet -p tallies --lib --all-features)
    (cd "$tree" && CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS=allow cargo update --quiet &&
        cargo test --quiet -p tallies --lib --all-features)
}
# New inputs go to target/ and not to the committed ones.
step_fuzz() {
    need g++ g++
    cargo_tool fuzz cargo-fuzz 0.13.2
    mkdir -p target/fuzz
    tar -xzf fuzz/corpus.tar.gz -C target/fuzz
    local target
    for target in accept declare exposition http mapped read sketch text; do
        echo "fuzzing $target for $fuzz_seconds s"
        mkdir -p target/fuzz/corpus/$target
        (cd fuzz && cargo +nightly fuzz run --target-dir "$CARGO_TARGET_DIR" --codegen-units 16 $target ../target/fuzz/corpus/$target seeds/$target -- \
            -max_total_time="$fuzz_seconds" -verbosity=0 -print_final_stats=1 2>&1 | grep -avE '^(INFO|"|#####)')
    done
}
# The profile `bench` is optimized as a program is by default.
step_instructions() {
    need valgrind valgrind
    cargo test --quiet --profile bench -p tallies-instructions --test instructions -- --nocapture
    cargo test --quiet --profile bench -p tallies-instructions --features mmap --test instructions -- --nocapture
}
step_mutations() {
    need redis-server redis-server
    timeout 2700 cargo xtask mutate
}
step_soak() {
    tests/soak.sh 10m
    tests/share.sh 10m
}

# ---- Running them ----

mkdir -p target/log
# Cargo's own folder for everyday builds; each other line of steps has its own. A whole run deletes
# those of proofs, so that 8 GB of disk suffice.
target_of() {
    case $1 in
    clippy | features | oldest | docs | api) echo "$PWD/target/check" ;;
    models | miri | address | thread | platforms | versions | fuzz) echo "$PWD/target/$1" ;;
    *) echo "$PWD/target" ;;
    esac
}
run() { # step
    local began=$SECONDS before=
    printf '\n== %s (%ss)\n' "$1" "$SECONDS"
    if is_proof "$1"; then
        before=$(fingerprint "$1")
        if [ $circle = short ] && is_proven "$1"; then
            echo "proven: its inputs are those of the last whole run"
            return
        fi
        if [ $circle = short ] && ! grep -q "^$1 " "$proven" 2>/dev/null; then
            echo "NOT PROVEN, and not run: tests/run.sh --all $1 has to run it once"
            return
        fi
    fi
    (CARGO_TARGET_DIR=$(target_of "$1") && export CARGO_TARGET_DIR && "step_$1")
    if is_proof "$1"; then
        case $circle in
        all) note_proof "$1" "$before" ;;
        esac
        case $circle in
        short | all)
            case $1 in
            instructions) ;;
            mutations) rm -rf target/mutate ;;
            *) rm -rf "$(target_of "$1")" ;;
            esac
            ;;
        esac
    fi
    printf -- '-- %s: %s s\n' "$1" "$((SECONDS - began))"
}
wanted() { local step; for step in $1; do [[ " $steps " != *" $step "* ]] || echo "$step"; done; }

if [ $circle != steps ] && [ $circle != quick ]; then export CARGO_INCREMENTAL=0; fi
for step in $(wanted format); do run "$step"; done
beside=
if [ -n "$(wanted "$checks")" ] && [ -n "$(wanted "$tests")" ]; then
    (for step in $(wanted "$checks"); do run "$step"; done) >target/log/checks.txt 2>&1 &
    beside=$!
    trap 'kill $(pgrep -P "$beside") "$beside" 2>/dev/null || true' EXIT
else
    for step in $(wanted "$checks"); do run "$step"; done
fi
for step in $(wanted "$tests"); do run "$step"; done
if [ -n "$beside" ]; then
    result=0
    wait "$beside" || result=$?
    trap - EXIT
    cat target/log/checks.txt
    [ $result = 0 ] || exit $result
fi
for step in $(wanted "$proofs $elsewhere soak"); do run "$step"; done
printf '\n== all of it holds in %s s: %s\n' "$SECONDS" "$steps"
du -sh target | sed 's/target/of disk are in target/'
