#!/usr/bin/env bash
# What a user pays: prints a table of the crates, the processor time of a clean build, and the bytes
# that one counter adds to a program, with and without a server, for tallies and two peers.
#
#   benches/price.sh [PROGRAM...]      default: all of them
#
# Every build starts with an empty target folder and runs on two cores. Its time is that of the
# processor, user and system: other work on the machine changes it little. Bytes are those of a
# stripped release program without those of an empty one. The packages are fetched first.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export CARGO_BUILD_JOBS=2 CARGO_INCREMENTAL=0 CARGO_TERM_QUIET=true CARGO_TERM_COLOR=never
unset CARGO_TARGET_DIR CARGO_PROFILE_DEV_DEBUG CARGO_BUILD_RUSTFLAGS RUSTFLAGS RUSTC_WRAPPER
programs=("$@")
[ ${#programs[@]} -gt 0 ] || programs=(tallies tallies-serve prometheus prometheus-client)
library=${PRICE_OF:-$root}

# What a program with hyper needs: the least features that serve a page on a thread of its own.
hyper='hyper = { version = "1", features = ["http1", "server"] }
hyper-util = { version = "0.1", features = ["tokio"] }
http-body-util = "0.1"
tokio = { version = "1", features = ["net", "rt"] }'
serve='fn serve(page: fn() -> String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = hyper::service::service_fn(move |_| async move {
                let page = http_body_util::Full::new(hyper::body::Bytes::from(page()));
                Ok::<_, std::convert::Infallible>(hyper::Response::new(page))
            });
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                .await;
        }
    });
}'

# Writes the package of a program.
write() { # program
    local dependencies="" main="fn main() {}"
    case $1 in
    tallies)
        dependencies="tallies = { path = \"$library\" }"
        main='use tallies::Counter;
/// Jobs done.
#[tallies::metric]
static JOBS: Counter = Counter::new("jobs_total");
fn main() {
    JOBS.inc();
    print!("{}", tallies::encode::text(&tallies::snapshot()));
}'
        ;;
    tallies-serve)
        dependencies="tallies = { path = \"$library\", features = [\"serve\"] }"
        main='use tallies::Counter;
/// Jobs done.
#[tallies::metric]
static JOBS: Counter = Counter::new("jobs_total");
fn main() {
    JOBS.inc();
    let _serving = tallies::serve("127.0.0.1:0").unwrap();
    std::thread::park();
}'
        ;;
    prometheus)
        dependencies="prometheus = \"0.14\"
$hyper"
        main="use prometheus::{Encoder, TextEncoder, register_int_counter};
$serve
fn page() -> String {
    let mut page = Vec::new();
    TextEncoder::new().encode(&prometheus::gather(), &mut page).unwrap();
    String::from_utf8(page).unwrap()
}
fn main() {
    register_int_counter!(\"jobs_total\", \"Jobs done.\").unwrap().inc();
    serve(page);
}"
        ;;
    prometheus-client)
        dependencies="prometheus-client = \"0.25\"
$hyper"
        main="use prometheus_client::{encoding::text::encode, metrics::counter::Counter, registry::Registry};
use std::sync::{LazyLock, Mutex};
$serve
static REGISTRY: LazyLock<Mutex<Registry>> = LazyLock::new(Default::default);
fn page() -> String {
    let mut page = String::new();
    encode(&mut page, &REGISTRY.lock().unwrap()).unwrap();
    page
}
fn main() {
    let jobs = Counter::<u64>::default();
    REGISTRY.lock().unwrap().register(\"jobs\", \"Jobs done\", jobs.clone());
    jobs.inc();
    serve(page);
}"
        ;;
    empty) ;;
    *)
        echo "no program $1" >&2
        exit 2
        ;;
    esac
    mkdir -p "$work/$1/src"
    cat >"$work/$1/Cargo.toml" <<EOF
[package]
name = "price"
version = "0.1.0"
edition = "2024"
[dependencies]
$dependencies
[workspace]
EOF
    echo "$main" >"$work/$1/src/main.rs"
    # The versions of this repository, where it has them.
    cp "$root/Cargo.lock" "$work/$1/Cargo.lock"
    (cd "$work/$1" && cargo fetch)
}

# Builds a program in an empty folder and prints the seconds of processor time.
seconds() { # program, further arguments of cargo
    local program=$1 TIMEFORMAT='%U %S'
    shift
    rm -rf "$work/target"
    { time (cd "$work/$program" && cargo build --offline --target-dir "$work/target" "$@" >&3 2>&4); } \
        3>&1 4>&2 2>"$work/time" >&2
    awk '{ printf "%.1f", $1 + $2 }' "$work/time"
}

# Prints the bytes of the release program that was just built, stripped.
bytes() {
    strip -o "$work/stripped" "$work/target/release/price"
    stat -c %s "$work/stripped"
}

write empty
seconds empty --release >/dev/null
least=$(bytes)
echo "$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), $(date -u +%F)," \
    "$(git -C "$root" describe --always --dirty), $(rustc --version)"
echo
echo "| program | crates | debug, s | release, s | added, MB |"
echo "|---|---|---|---|---|"
for program in "${programs[@]}"; do
    write "$program"
    crates=$(cd "$work/$program" && cargo tree --offline -e normal,build --prefix none --no-dedupe |
        sort -u | grep -vc '^price ')
    debug=$(seconds "$program")
    release=$(seconds "$program" --release)
    added=$(awk "BEGIN { printf \"%.2f\", ($(bytes) - $least) / 1e6 }")
    echo "| $program | $crates | $debug | $release | $added |"
done
