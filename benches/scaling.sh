#!/usr/bin/env bash
# Builds `scaling`, the benchmark for many cores, as one static program, and prints its path and size.
# Copy it to a machine and run it there: `scaling --help` has the options.
#
# It has glibc in it, and not musl, because that would slow down the peers alone: its comparison of
# bytes makes one look-up of prometheus-client 1.2 ×, of measured 1.9 × as long as in ordinary
# programs, and its allocator one of metrics 1.6 ×; those of tallies and prometheus stay the same.
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/tools.sh
need cc gcc "/usr/lib/$(uname -m)-linux-gnu/libc.a" libc6-dev git git
SCALING_BUILD="$(git describe --always --dirty), $(rustc --version)"
target=$(rustc -vV | sed -n 's/^host: //p')
export SCALING_BUILD CARGO_PROFILE_RELEASE_STRIP=debuginfo
cd benches/peers
# With a target, flags do not reach build scripts and macros, which are no static programs.
RUSTFLAGS="-C target-feature=+crt-static" \
    cargo build --quiet --release --locked --bin scaling --target "$target"
program=target/$target/release/scaling
ldd "$program" 2>&1 | grep -Eq "statically linked|not a dynamic" || {
    echo "$program is not static" >&2
    exit 1
}
echo "$PWD/$program: $(($(stat -c %s "$program") / 1000)) kB"
