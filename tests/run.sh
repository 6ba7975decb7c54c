#!/usr/bin/env bash
# Runs every test, also on a fresh Debian machine: installs missing tools and prints their names. Fails
# if a tool cannot be installed.
#
#   tests/run.sh             everything
#   tests/run.sh --quick     formatting, clippy, unit, integration and documentation tests
#   tests/run.sh --long      everything, with an hour of fuzzing per target and a ten-minute soak
#   tests/run.sh loom miri   only these steps
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never RUST_BACKTRACE=1
unset RUSTFLAGS

all="format clippy features oldest units loom miri address thread aarch64 fuzz instructions mutations parsers prometheus pushgateway redis exporters browser load package api"
fuzz_seconds=12
parser=0.26.0
public_api=0.52.0
case ${1:-} in
--quick) steps="format clippy units" ;;
--long) steps="$all soak" fuzz_seconds=3600 ;;
"") steps=$all ;;
*) steps=$* ;;
esac
for step in $steps; do
    case " $all soak " in
    *" $step "*) ;;
    *)
        echo "no step \`$step\`; there are: $all soak" >&2
        exit 2
        ;;
    esac
done
wants() { [[ " $steps " == *" $1 "* ]]; }

say() { printf '\n== %s (%ss)\n' "$*" "$SECONDS"; }
# A full run deletes each step's build once no later step needs it, so that 8 GB of disk suffice.
case $steps in
"$all"*)
    export CARGO_INCREMENTAL=0
    done_with() { rm -rf "$@"; }
    ;;
*) done_with() { :; } ;;
esac

# ---- Tools ----

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
debian() { # command, package
    command -v "$1" >/dev/null && return
    echo "installing the Debian package $2, for $1"
    debian_package "$2"
}
debian_package() {
    [ -n "${apt_updated:-}" ] || as_root apt-get -qq update
    apt_updated=1
    DEBIAN_FRONTEND=noninteractive as_root apt-get -qq install -y --no-install-recommends "$1" >/dev/null
}
component() { # component of the nightly toolchain
    rustup component list --toolchain nightly --installed | grep -q "^$1" && return
    echo "installing the nightly component $1"
    rustup component add --toolchain nightly "$1"
}
if wants parsers; then
    debian promtool prometheus
    if ! target/parsers/bin/python -c "import prometheus_client" 2>/dev/null; then
        echo "installing the Python package prometheus_client $parser, in target/parsers"
        debian python3 python3
        if ! python3 -m venv target/parsers 2>/dev/null; then
            echo "installing the Debian package python3-venv"
            debian_package python3-venv
            python3 -m venv --clear target/parsers
        fi
        target/parsers/bin/pip install --quiet "prometheus_client==$parser"
    fi
    echo "prometheus_client $(target/parsers/bin/pip show prometheus_client | sed -n 's/^Version: //p')"
    promtool --version 2>&1 | head -n 1
fi
if wants prometheus; then
    debian prometheus prometheus
    debian promtool prometheus
    prometheus --version 2>&1 | head -n 1
fi
if wants pushgateway; then
    debian prometheus-pushgateway prometheus-pushgateway
    debian victoria-metrics victoria-metrics
    prometheus-pushgateway --version 2>&1 | head -n 1
    victoria-metrics --version 2>&1 | head -n 1
fi
if wants redis; then
    debian redis-server redis-server
    redis-server --version
fi
if wants exporters; then
    debian prometheus prometheus
    debian promtool prometheus
    debian prometheus-node-exporter prometheus-node-exporter
    debian redis-server redis-server
    debian redis-cli redis-tools
    prometheus-node-exporter --version 2>&1 | head -n 1
    redis-server --version
fi
if wants browser; then
    debian chromium chromium
    debian chromedriver chromium-driver
    chromium --version
fi
if wants instructions; then
    debian valgrind valgrind
    valgrind --version
fi
if wants miri; then component miri; fi
if wants miri || wants thread; then component rust-src; fi
if wants aarch64; then
    debian qemu-aarch64 qemu-user
    debian aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu
    if [ ! -e /usr/aarch64-linux-gnu/lib/Scrt1.o ]; then
        echo "installing the Debian package libc6-dev-arm64-cross"
        debian_package libc6-dev-arm64-cross
    fi
    if ! rustup target list --installed | grep -q '^aarch64-unknown-linux-gnu'; then
        echo "installing the standard library for aarch64-unknown-linux-gnu"
        rustup target add aarch64-unknown-linux-gnu
    fi
fi
if wants thread || wants aarch64; then debian perl perl; fi
if wants fuzz; then
    debian g++ g++
    if ! cargo fuzz --version >/dev/null 2>&1; then
        echo "installing the cargo tool cargo-fuzz"
        cargo install --quiet --locked cargo-fuzz --version 0.13.2
    fi
fi

if wants api && ! cargo public-api --version 2>/dev/null | grep -q " $public_api\$"; then
    echo "installing the cargo tool cargo-public-api"
    # Without optimizations: it runs once.
    cargo install --quiet --debug --locked --force cargo-public-api --version "$public_api"
fi

# Copies the crate with the one test that has no other dependencies, so that it builds in seconds.
small_tree() {
    rm -rf "$1" && mkdir -p "$1/tests"
    cp -r Cargo.toml Cargo.lock build.rs README.md macros src "$1"
    cp tests/everything.rs "$1/tests"
    perl -0pi -e 's/^members = .*/members = ["macros"]/m; s/\[target\.\x27cfg\(not\(loom\)\)\x27\.dev-dependencies\]\n.*?\n\n//s; s/\[profile\.release\.package\]\n.*?(\n\n|\z)//s; s/\[\[(example|test)\]\].*?\n\n//sg' "$1/Cargo.toml"
}

# ---- The steps ----

if wants format; then
    say "formatting"
    cargo fmt --all --check
    (cd fuzz && cargo fmt --check)
    (cd benches/peers && cargo fmt --check)
    (cd benches/http && cargo fmt --check)
fi
if wants clippy; then
    say "clippy"
    cargo clippy --quiet --workspace --all-targets --all-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc -p tallies --quiet --no-deps --all-features --document-private-items
fi
if wants features; then
    say "features: default only, none, each"
    cargo clippy -p tallies --quiet --lib -- -D warnings
    for features in "" link-time middleware axum actix reqwest tower serve tls gzip zstd tower,gzip,zstd push push-tls mmap redis redis-tls serde stream facade process "process,tokio-metrics" tsc config-files exporter live; do
        cargo check -p tallies --quiet --lib --no-default-features --features "$features"
    done
    # The dependencies of a program that enables no features.
    cargo tree -p tallies --quiet --edges normal --depth 1
fi
if wants oldest; then
    oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    say "Rust $oldest: default features, serve, push, facade, middleware"
    if ! rustup toolchain list | grep -q "^$oldest"; then
        echo "installing Rust $oldest"
        rustup toolchain install "$oldest" --profile minimal
    fi
    CARGO_TARGET_DIR=target/oldest cargo "+$oldest" check -p tallies --quiet --lib
    CARGO_TARGET_DIR=target/oldest cargo "+$oldest" check -p tallies --quiet --lib --features serve,push,facade,middleware
    done_with target/oldest
fi
if wants units; then
    say "unit, integration and documentation tests"
    cargo test --workspace --all-features
fi
if wants loom; then
    say "loom models"
    RUSTFLAGS="--cfg loom" CARGO_TARGET_DIR=target/loom timeout 900 cargo test -p tallies --release --lib models::
    done_with target/loom
fi
# Modules without unsafe code are left out, since Miri takes minutes for them.
# Tree borrows, because the lists of crossbeam-epoch violate stacked borrows. Leaks are ignored,
# because shards live as long as the process.
run_miri() {
    MIRIFLAGS="-Zmiri-permissive-provenance -Zmiri-tree-borrows -Zmiri-disable-isolation -Zmiri-ignore-leaks" CARGO_TARGET_DIR=target/miri \
        cargo +nightly miri test -p tallies --lib -- lockfree:: observe:: \
        --skip observe::window --skip observe::bucket_index --skip observe::slot --skip observe::native::key
}
if wants miri; then
    if wants mutations; then
        # It takes ten minutes of one processor, beside the following steps.
        say "Miri begins: lockfree and observe"
        mkdir -p target
        run_miri >target/miri.log 2>&1 &
        miri=$!
        trap 'kill $(pgrep -P "$miri") "$miri" 2>/dev/null || true' EXIT
    else
        say "Miri: lockfree and observe"
        run_miri
    fi
fi
if wants address; then
    say "AddressSanitizer"
    # Skipped tests leak on purpose: payloads that panic when they are dropped, and a cycle of a
    # collector and its own service. The sketch has no unsafe code.
    host=$(rustc -vV | sed -n 's/^host: //p')
    LSAN_OPTIONS="suppressions=$PWD/tests/leaks.txt:print_suppressions=0" RUSTFLAGS="-Zsanitizer=address" \
        CARGO_TARGET_DIR=target/address cargo +nightly test -p tallies --quiet --target "$host" \
        --all-features --lib --test everything --test engine --test declare -- --skip regressions::collectors --skip sketch::
    done_with target/address
fi
if wants thread; then
    say "ThreadSanitizer: every kind under scrapes, while threads and series come and go"
    small_tree target/thread/tree
    # Builds the standard library, too, so that ThreadSanitizer sees its locks.
    (cd target/thread/tree && RUSTFLAGS="-Zsanitizer=thread" CARGO_TARGET_DIR=../target \
        cargo +nightly test -Zbuild-std --quiet --release --target "$(rustc -vV | sed -n 's/^host: //p')" --test everything)
    done_with target/thread
fi
if wants aarch64; then
    say "aarch64, emulated: the room of the lock-free code, and every kind under scrapes"
    # An emulator on x86-64 inherits its strong memory ordering. This step finds code that does not
    # build or run; the loom models find wrong orderings.
    small_tree target/aarch64/tree
    (cd target/aarch64/tree && CARGO_TARGET_DIR=../target CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc \
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu" \
        cargo test --quiet --release --target aarch64-unknown-linux-gnu --lib --test everything -- --skip sketch)
    done_with target/aarch64
fi
if wants fuzz; then
    for target in declare exposition read mapped sketch text accept http; do
        say "fuzzing $target for $fuzz_seconds s"
        # New inputs go to a directory of their own and not to the committed corpus.
        mkdir -p target/fuzz/"$target"
        (cd fuzz && cargo +nightly fuzz run --codegen-units 16 "$target" "$PWD/../target/fuzz/$target" "corpus/$target" -- \
            -max_total_time="$fuzz_seconds" -verbosity=0 -print_final_stats=1 2>&1 | grep -avE '^(INFO|"|#####)')
    done
    done_with fuzz/target
fi
if wants instructions; then
    say "instructions per update"
    # The profile `bench` is optimized as a program is by default.
    cargo test --quiet --profile bench -p tallies-instructions --test instructions -- --nocapture
    cargo test --quiet --profile bench -p tallies-instructions --features mmap --test instructions -- --nocapture
fi
if [ -n "${miri:-}" ]; then
    say "Miri: the result"
    result=0
    wait "$miri" || result=$?
    trap - EXIT
    cat target/miri.log
    [ "$result" = 0 ] || exit "$result"
    done_with target/miri
fi
if wants mutations; then
    say "mutations"
    if wants loom; then export MODELS_PASSED=1; fi
    timeout 2700 cargo xtask mutate
    done_with target/mutate/tree target/mutate/loom target/mutate/threads
fi
if wants parsers; then
    say "the parsers of others"
    cargo test --workspace --all-features --test parsers --test promlint -- --nocapture
fi
if wants prometheus; then
    say "a real Prometheus"
    cargo test --workspace --all-features --test prometheus -- --nocapture
fi
if wants pushgateway; then
    say "a real Pushgateway, a real VictoriaMetrics"
    cargo test --workspace --all-features --test pushgateway -- --nocapture
fi
if wants redis; then
    say "real Redis servers, single and cluster-enabled; a thousand processes that are killed"
    TALLIES_LIVES=1000 cargo test --workspace --all-features --test redis -- --include-ignored
fi
if wants exporters; then
    say "example exporters beside a real node exporter and a real Redis, scraped by a real Prometheus"
    cargo test --workspace --all-features --test exporters -- --nocapture
fi
if wants browser; then
    say "the live page in a real Chromium"
    cargo test --workspace --all-features --test browser -- --test-threads=2
fi
if wants load; then
    say "load: every request counted, no series that a scanner makes up"
    tests/load.sh exact 3
fi
if wants package; then
    say "the package"
    packages="-p tallies -p tallies-macros -p tallies-cli"
    cargo package --quiet $packages --no-verify --allow-dirty
    for file in README.md CHANGELOG.md LICENSE-MIT src/lib.rs src/top/mod.rs; do
        cargo package $packages --list --allow-dirty | grep -qx "$file"
    done
fi
if wants api; then
    say "the public API: compared with tests/public-api.txt (ACCEPT=1 writes that file)"
    # Reads rustdoc's JSON, which only the nightly toolchain writes.
    mkdir -p target
    cargo +nightly public-api --target-dir target/api -p tallies --all-features -sss |
        LC_ALL=C sort -u >target/public-api.txt
    if [ -n "${ACCEPT:-}" ]; then cp target/public-api.txt tests/public-api.txt; fi
    diff -u tests/public-api.txt target/public-api.txt
    done_with target/api
fi
if wants soak; then
    say "soak"
    tests/soak.sh 10m
    tests/share.sh 10m
fi
say "all of it holds: $steps"
if [ -d target ]; then du -sh target | sed 's/target/of disk are in target/'; fi
