#!/usr/bin/env bash
# Proves what README promises, on Linux. On a fresh Debian machine it installs what is missing
# (tests/tools.sh).
#
#   tests/run.sh                   all that a change can break: 15 minutes on two cores, from nothing
#   tests/run.sh --changed STEP ...  these steps, as the first form: proofs only if something changed
#   tests/run.sh --quick           formatting, lints, tests without servers: 2 minutes when warm
#   tests/run.sh --all             everything; writes tests/proven.txt
#   tests/run.sh --all STEP ...    the same for these steps
#   tests/run.sh --long            everything, with an hour of fuzzing per target and soaks
#   tests/run.sh STEP ...          these steps
#
# The steps in `proofs` are long: mutations, sanitizers, emulators. The first form leaves one out only
# if tests/proven.txt has the fingerprint of its inputs, that is, if nothing has changed since `--all`
# last ran it. `inputs` below lists them.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
. tests/tools.sh
export CARGO_TERM_COLOR=never RUST_BACKTRACE=1
# Variables that would silently weaken a proof.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS RUSTDOCFLAGS MIRIFLAGS ASAN_OPTIONS LSAN_OPTIONS TSAN_OPTIONS \
    PROPTEST_CASES ${!LOOM_*}

# The steps of one lane run beside those of the other: tests wait for servers a good part of their
# time, and Miri, fuzzers and valgrind use one core.
proofs="mutations miri address thread fuzz instructions platforms versions benches ignored orders"
first_lane="tests cargo load package mutations address platforms versions benches ignored soak"
second_lane="format clippy docs api features oldest miri fuzz instructions thread orders"
everything="$second_lane ${first_lane% *}"
proven=tests/proven.txt
fuzz_seconds=12

circle=steps
case ${1:-} in
"") circle=short steps=$everything ;;
--changed) circle=short && shift && steps=${*:-$everything} ;;
--quick) circle=quick steps="format clippy tests" ;;
--all) circle=all && shift && steps=${*:-$everything} ;;
--long) circle=all steps="$everything soak" fuzz_seconds=3600 ;;
*) steps=$* ;;
esac
fail() {
    echo "$*" >&2
    exit 1
}
for step in $steps; do
    [[ " $everything soak " == *" $step "* ]] || fail "no step \`$step\`; there are: $everything soak"
done

# `cargo xtask` in a folder of its own, so that neither lane waits for what the other one builds.
xtask() {
    timeout --foreground 2700 cargo run --quiet --target-dir target/xtask -p xtask -- "$@"
}

# ---- What is proven ----

# The sources and tests on which the result of a proof depends. Memory safety and orderings depend on
# modules with unsafe code or atomics alone: safe code cannot break them. (It can leak; whole runs
# look for leaks.)
inputs() {
    local engine="src/lockfree src/observe src/mapped src/sync build.rs .cargo/config.toml :!src/observe/models"
    case $1 in
    miri) echo "$engine src/share/files/read" ;;
    address) echo "$engine tests/everything.rs tests/engine :!tests/engine/docs.rs tests/declare tests/support tests/leaks.txt" ;;
    thread) echo "$engine tests/everything.rs" ;;
    fuzz) echo "$engine src/declare src/encode src/error src/family src/registry src/serve/*.rs src/serve/server src/share/files src/snapshot crates/check/src/pages fuzz tests/support tests/golden/share" ;;
    instructions) echo "$engine src/clock.rs src/declare src/family src/registry src/snapshot macros tests/instructions" ;;
    mutations) echo "${engine% *} src/clock.rs src/declare/exemplar.rs src/family src/registry src/share src/snapshot crates/redis/src tests/integration/redis tests/golden/share tests/mapped tests/mutations tests/share tests/support xtask" ;;
    platforms) echo "$engine tests/everything.rs tests/platforms.sh $(git grep -lE 'target_|cfg.*(unix|windows)|_ne_bytes' -- 'src/*.rs')" ;;
    versions) echo "Cargo.toml Cargo.lock macros/Cargo.toml tests/outside.sh" ;;
    benches) echo "benches tests/public-api" ;;
    ignored) echo "src/mapped src/snapshot/sketch src/share src/sync crates/redis/src crates/bench/src/compare crates/bench/tests/packages.rs tests/integration/redis tests/support" ;;
    orders) echo "macros crates/names src/declare src/instrument tests/integration/attributes tests/integration/build.rs tests/integration/Cargo.toml" ;;
    esac
}
# The crates that these modules are built on, as the lock file has them.
crates='^(ahash|async-trait|atomic_float|crossbeam-epoch|crossbeam-utils|dashmap|hashbrown|libc|linkme|loom|proc-macro2|quote|rustix|syn) '
# Hashes them with the commands of the proof, and what the manifest says of builds.
# Comments of Rust sources do not count.
fingerprint() { # proof
    local paths path all
    paths=$(inputs "$1")
    for path in $paths; do [ -e "${path#:!}" ] || fail "$1 names $path, which does not exist"; done
    all=$(declare -f "step_$1" small_tree)
    all+=$(awk '/^\[/ { keep = /^\[(features|profile)/ } keep' Cargo.toml)
    all+=$(sed -n '/^name = /{s/.*"\(.*\)"/\1/;N;s/\nversion = "\(.*\)"/ \1/p}' Cargo.lock | grep -E "$crates")
    # shellcheck disable=SC2086
    all+=$(git ls-files -z --cached --others --exclude-standard -- $paths | LC_ALL=C sort -zu | xtask words | sha256sum)
    echo "$all" | sha256sum | cut -d ' ' -f 1
}
is_proof() { [[ " $proofs " == *" $1 "* ]]; }
is_proven() { grep -qx "$1 $2" "$proven" 2>/dev/null; } # proof, fingerprint
note_proof() ( # proof, fingerprint
    flock 8
    { grep -v "^$1 " "$proven" 2>/dev/null || true; echo "$1 $2"; } | LC_ALL=C sort >target/proven.txt
    mv target/proven.txt "$proven"
) 8>target/log/proven

# ---- Formatting, lints, features, documentation, API ----

step_format() {
    cargo fmt --all --check
    for folder in fuzz benches/peers benches/http benches/trials benches/wire; do
        (cd $folder && cargo fmt --check && cargo metadata --locked --format-version 1 >/dev/null)
    done
    cargo metadata --locked --format-version 1 >/dev/null
    # Every mutation has its place, every ordering its mutation or its reason.
    xtask mutate --check
}
step_clippy() {
    # `--all-targets` leaves out tests that run by name only.
    cargo clippy --quiet --workspace --lib --bins --examples --benches --tests --test '*' --all-features -- -D warnings
}
# As clippy, the whole workspace and what needs dev-dependencies: then it checks no dependency again.
step_docs() {
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --quiet --no-deps --all-features --document-private-items \
        --lib --bins --examples
}
step_features() {
    local feature
    for feature in $(sed -n '/^\[features\]/,/^\[/s/^\([a-z-]*\) = .*/\1/p' Cargo.toml); do
        cargo rustc --quiet --profile check -p tallies --lib --no-default-features --features "$feature" -- -D warnings
    done
    cargo clippy -p tallies --quiet --lib --no-default-features -- -D warnings
    # A library in both forms; then what is left of its metrics without the engine. By themselves, since a
    # workspace enables it.
    cargo clippy --quiet -p tallies-library --all-targets -- -D warnings
    cargo test --quiet -p tallies-library --test both --test nothing
    cargo test --quiet -p tallies-library --features enabled --test both
    # Clippy has seen the other crates with all of theirs.
    cargo check --quiet -p tallies-http -p tallies-redis -p tallies-exporter --lib
    # The dependencies of a program that enables no features.
    cargo tree -p tallies --quiet --edges normal --depth 1
}
# Reads `docs/platforms.md`: the oldest Rust of each feature.
step_oldest() {
    local version features rows
    rows=$(sed -n '/^| features, or a crate | oldest Rust/,/^$/p' docs/platforms.md | grep -E '^\| .*[0-9]\.[0-9]+')
    # The first row has most features; the others need a toolchain each.
    [ $circle = all ] || rows=$(head -n 1 <<<"$rows")
    while IFS='|' read -r _ features version _; do
        version=${version//[\` ]/} features=${features//[\` ]/}
        [[ $(rustup toolchain list) == *"$version"* ]] || rustup toolchain install "$version" --profile minimal
        echo "Rust $version: ${features:-default features}"
        local what=(-p tallies --features "$features")
        # A row may also be of a crate.
        [[ $features != tallies-* ]] || what=(-p "$features" --all-features)
        CARGO_TARGET_DIR=$CARGO_TARGET_DIR/oldest cargo "+$version" check "${what[@]}" --quiet
    done <<<"$rows"
}
step_api() {
    cargo test --quiet -p tallies-api --test api
}

# ---- Tests ----

# As a new user types it: no servers, no root, no flags.
step_cargo() {
    cargo test --quiet
}
# Everything with all features; the servers are those of other people.
step_tests() {
    cargo_tool nextest cargo-nextest 0.9.143
    local profile=default
    if [ $circle = quick ]; then profile=quick; else tools_for_servers; fi
    # With the programs that tests run; each would build its own.
    cargo build --quiet --workspace --all-features --lib --bins --examples --tests --test '*'
    TALLIES_PROGRAMS_ARE_BUILT=1 TALLIES_LIVES=${TALLIES_LIVES:-1000} cargo nextest run --workspace --all-features --lib --bins --test '*' \
        --profile $profile
    # Statics of one program, shared by its tests.
    cargo test --quiet --workspace --all-features --test testing
    cargo test --quiet --workspace --all-features --doc
}
step_load() { tests/load.sh exact 3; }
step_package() {
    # Without a build: tests/release.sh builds what is published, from its archives.
    # shellcheck disable=SC2046
    cargo package --quiet -p tallies -p tallies-macros $(ls crates | sed 's/^/-p tallies-/') --no-verify --allow-dirty
}

# ---- Proofs ----

# Tree borrows, because the lists of crossbeam-epoch violate stacked borrows. Leaks are ignored,
# because shards live as long as the process. Modules without unsafe code are left out. In one
# process: Miri compiles the crate again for each.
step_miri() {
    nightly_component miri
    nightly_component rust-src
    local tree
    tree=$(small_tree)
    (cd "$tree" && MIRIFLAGS="-Zmiri-permissive-provenance -Zmiri-tree-borrows -Zmiri-disable-isolation -Zmiri-ignore-leaks" \
        cargo +nightly miri test -p tallies --lib --features mmap -- lockfree:: observe:: share::files::read \
        --skip observe::window --skip observe::bucket_index --skip observe::slot --skip observe::native::key)
}
# Skipped tests leak on purpose: payloads that panic when they are dropped, and a cycle of a
# collector and its own service. The sketch has no unsafe code.
step_address() {
    LSAN_OPTIONS="suppressions=$PWD/tests/leaks.txt:print_suppressions=0" RUSTFLAGS="-Zsanitizer=address" \
        cargo +nightly test -p tallies --quiet --target x86_64-unknown-linux-gnu --features process --lib \
        --test everything --test engine --test declare -- --skip regressions::collectors --skip sketch::
}
# Builds the standard library, too, so that ThreadSanitizer sees its locks.
step_thread() {
    nightly_component rust-src
    local tree
    tree=$(small_tree)
    (cd "$tree" && RUSTFLAGS="-Zsanitizer=thread" cargo +nightly test -Zbuild-std --quiet --release \
        --target x86_64-unknown-linux-gnu --test everything)
}
step_platforms() { tests/platforms.sh; }
# Each bench of the hot path runs once, as a new user starts it. Those beside peers are packages of
# their own.
step_benches() {
    cargo bench -- --test
    local folder
    for folder in benches/peers benches/http benches/trials benches/wire; do
        (cd $folder && CARGO_TARGET_DIR=$CARGO_TARGET_DIR/peers cargo check --quiet --locked)
    done
}
# Tests that are `#[ignore]`d because they take minutes, with a tenth of the values, models of folds,
# which take one, and a bench that is built at two revisions. tests/share.sh runs the soak.
step_ignored() {
    need redis-server redis-server
    SIZE=1000000 cargo test --quiet --release -p tallies --lib --features mmap -- --ignored
    cargo test --quiet --release -p tallies --lib --features mmap -- ::schedules::
    cargo test --quiet --workspace --all-features --test redis --test packages -- --ignored
}
# The oldest releases of other crates that the manifest admits, and the newest ones, which the programs
# of the documents get in a package of their own.
step_versions() {
    local tree
    tree=$(small_tree)
    (cd "$tree" && rm Cargo.lock && cargo +nightly -Zdirect-minimal-versions generate-lockfile --quiet &&
        cargo check --quiet -p tallies --lib --all-features)
    rm -rf "$tree" && mkdir -p "$tree"
    git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$tree"
    (cd "$tree" && CARGO_RESOLVER_INCOMPATIBLE_RUST_VERSIONS=allow cargo update --quiet &&
        cargo test --quiet -p tallies --lib --all-features)
    tests/outside.sh
}
# New inputs go to target/corpus and not to the committed ones.
step_fuzz() {
    need g++ g++
    cargo_tool fuzz cargo-fuzz 0.13.2
    tar -xzf fuzz/corpus.tar.gz -C target
    local target seeds
    for target in accept declare exposition http mapped read sketch text; do
        echo "fuzzing $target for $fuzz_seconds s"
        mkdir -p target/corpus/$target
        seeds=fuzz/seeds/$target
        [ ! -e "$seeds" ] || cp -r "$seeds/." target/corpus/$target
        (cd fuzz && cargo +nightly fuzz run --target-dir "$CARGO_TARGET_DIR" --codegen-units 16 $target ../target/corpus/$target -- \
            -max_total_time="$fuzz_seconds" -verbosity=0 -print_final_stats=1 2>&1 | grep -avE '^(INFO|"|#####)')
    done
}
# The profile `bench` is optimized as a program is by default.
step_instructions() {
    need valgrind valgrind
    cargo test --quiet --profile bench -p tallies-instructions --test instructions -- --nocapture
    cargo test --quiet --profile bench -p tallies-instructions --features mmap --test instructions -- --nocapture
}
# Attributes stacked on each shape of function in all their orders; the short circle has four.
step_orders() {
    TALLIES_EVERY_ORDER=1 cargo test --quiet -p tallies-tests --all-features --test attributes
}
step_mutations() {
    need redis-server redis-server
    xtask mutate
}
step_soak() {
    cargo test --quiet --release -p tallies --lib -- --ignored
    tests/soak.sh 10m
    tests/share.sh 10m
}

# ---- Running them ----

mkdir -p target/log
exec 9>target/log/lock
flock -n 9 || fail "another run of tests/run.sh is under way here"
: >target/log/times.txt
# Cargo's own folder for everyday builds, one for what only checks, one for each proof with flags of
# its own, which a whole run deletes, so that 8 GB of disk suffice.
target_of() {
    case $1 in
    format | clippy | docs | api | features | oldest) echo "$PWD/target/check" ;;
    miri | address | thread | fuzz | platforms | versions) echo "$PWD/target/$1" ;;
    *) echo "$PWD/target" ;;
    esac
}
run() { # step
    local began=$SECONDS before=
    now=$1
    printf '\n== %s (%ss)\n' "$1" "$SECONDS"
    if is_proof "$1" && [ $circle != steps ]; then
        before=$(fingerprint "$1")
        if [ $circle = short ] && is_proven "$1" "$before"; then
            echo "proven: its inputs are those of the last whole run"
            return
        fi
    fi
    (
        CARGO_TARGET_DIR=$(target_of "$1") && export CARGO_TARGET_DIR && "step_$1"
        times >"target/log/$1"
    )
    if [ -n "$before" ] && [ $circle = all ]; then
        [ "$before" = "$(fingerprint "$1")" ] || fail "the inputs of $1 changed while it ran"
        note_proof "$1" "$before"
    fi
    if [ $circle != steps ] && is_proof "$1"; then
        [ "$(target_of "$1")" = "$PWD/target" ] || rm -rf "$(target_of "$1")"
        [ "$1" != mutations ] || rm -rf target/mutate
    fi
    printf -- '-- %s: %s s (processor: %s)\n' "$1" "$((SECONDS - began))" "$(sed -n 2p "target/log/$1")" |
        tee -a target/log/times.txt
}
wanted() { local step; for step in $1; do [[ " $steps " != *" $step "* ]] || echo "$step"; done; }

now= beside=
end() {
    local result=$?
    [ $result = 0 ] || echo "FAILED with exit code $result: the step $now" >&2
    [ -z "$beside" ] || kill -- "-$beside" 2>/dev/null || true
}
trap end EXIT
if [ $circle != steps ] && [ $circle != quick ]; then export CARGO_INCREMENTAL=0; fi
# Nobody debugs there, and builds are a tenth shorter.
if [ -n "${CI:-}" ]; then export CARGO_PROFILE_DEV_DEBUG=0; fi
if [ -n "$(wanted "$first_lane")" ] && [ -n "$(wanted "$second_lane")" ]; then
    set -m
    (
        trap 'echo "FAILED: the step $now"' ERR
        # The first lane takes longer, and waits for builds.
        renice -n 5 $BASHPID >/dev/null
        for step in $(wanted "$second_lane"); do run "$step"; done
    ) >target/log/second_lane.txt 2>&1 &
    beside=$!
    set +m
else
    for step in $(wanted "$second_lane"); do run "$step"; done
fi
for step in $(wanted "$first_lane"); do run "$step"; done
if [ -n "$beside" ]; then
    now="of target/log/second_lane.txt" result=0
    wait "$beside" || result=$?
    beside=
    cat target/log/second_lane.txt
    [ $result = 0 ] || exit $result
fi
printf '\n== all of it holds in %s s: %s\n' "$SECONDS" "$steps"
paste -sd ' ' target/log/times.txt
times >target/log/processor.txt
sed -n '2s/^/processor time, user and system: /p' target/log/processor.txt
du -sh target | sed 's/target/of disk are in target/'
