#!/usr/bin/env bash
# Builds the crate for other platforms, and runs its unit tests and `everything` where something here
# can: natively (i686, musl), under qemu (aarch64; s390x, which is big-endian), under Wine (Windows).
# An emulator on x86-64 inherits its strong memory ordering: wrong orderings are found by the models.
#
#   tests/platforms.sh            all of them
#   tests/platforms.sh NAME ...   those whose name begins so
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/tools.sh
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/platforms} CARGO_TERM_COLOR=never
# Quick enough under an emulator, and built in half the time.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=1
tree=$(small_tree)
# What needs neither a C compiler nor Linux.
portable="serve,gzip,live,push,serde,process"

is_wanted() { [ ${#only[@]} = 0 ] || [[ " ${only[*]} " == *" ${1%%-*} "* ]]; }
only=("$@")

# check TARGET [FEATURES]
check() {
    is_wanted "$1" || return 0
    rust_target "$1"
    (cd "$tree" && cargo check --quiet --target "$1" --lib --features "${2-$portable}")
    echo "$1: checked"
}
# try TARGET LINKER RUNNER: builds and runs
try() {
    is_wanted "$1" || return 0
    rust_target "$1"
    local name=${1^^}
    echo "$1:"
    (
        cd "$tree"
        export "CARGO_TARGET_${name//-/_}_LINKER=$2" "CARGO_TARGET_${name//-/_}_RUNNER=$3"
        cargo test --quiet --release --target "$1" --lib --test everything -- --skip sketch |
            grep -E '^(test result|failures|error)|FAILED'
    )
}

need i686-linux-gnu-gcc gcc-i686-linux-gnu /usr/i686-linux-gnu/lib/libc.so libc6-dev-i386-cross \
    aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu /usr/aarch64-linux-gnu/lib/libc.so libc6-dev-arm64-cross \
    s390x-linux-gnu-gcc gcc-s390x-linux-gnu /usr/s390x-linux-gnu/lib/libc.so libc6-dev-s390x-cross \
    qemu-aarch64 qemu-user \
    x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64-posix /usr/lib/wine/wine64 wine64

check riscv64gc-unknown-linux-gnu
check x86_64-apple-darwin
check aarch64-apple-darwin
check x86_64-pc-windows-gnu
try i686-unknown-linux-gnu i686-linux-gnu-gcc \
    "/usr/i686-linux-gnu/lib/ld-linux.so.2 --library-path /usr/i686-linux-gnu/lib"
try x86_64-unknown-linux-musl cc env
try aarch64-unknown-linux-gnu aarch64-linux-gnu-gcc "qemu-aarch64 -L /usr/aarch64-linux-gnu"
try s390x-unknown-linux-gnu s390x-linux-gnu-gcc "qemu-s390x -L /usr/s390x-linux-gnu"
# Debian's Wine lacks a library from which the standard library takes random numbers.
if is_wanted x86_64-pc-windows-gnu; then
    export WINEDEBUG=-all WINEPREFIX=$CARGO_TARGET_DIR/wine
    mkdir -p "$WINEPREFIX"
    x86_64-w64-mingw32-gcc -shared -o "$WINEPREFIX/bcryptprimitives.dll" -xc - -ladvapi32 <<'END'
#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL ProcessPrng(PBYTE data, SIZE_T size) { return RtlGenRandom(data, size); }
END
    WINEPATH=$WINEPREFIX try x86_64-pc-windows-gnu x86_64-w64-mingw32-gcc /usr/lib/wine/wine64
fi

# A processor without 64-bit atomics is refused with one line.
if is_wanted powerpc-unknown-linux-gnu; then
    rust_target powerpc-unknown-linux-gnu
    errors=$(cd "$tree" && cargo check --quiet --target powerpc-unknown-linux-gnu --lib 2>&1 | grep -E '^error' || true)
    echo "powerpc: $errors"
    [[ $errors == *"tallies needs 64-bit atomics"* ]]
fi
