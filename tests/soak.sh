#!/usr/bin/env bash
# Updates every kind from threads that come and go, with label sets that come and go, scraped over HTTP all the while:
# totals are exact, and memory stays flat; what that means is at the head of examples/soak.rs. Fails otherwise.
#
#   tests/soak.sh 10m     or 1h, 30s
set -euo pipefail
cd "$(dirname "$0")/.."
time=${1:-10m}
case $time in
*h) seconds=$((${time%h} * 3600)) ;;
*m) seconds=$((${time%m} * 60)) ;;
*) seconds=${time%s} ;;
esac
# With one arena, resident memory tells of live memory, and not of how glibc spreads millions of threads over sixteen.
export MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-1}
exec cargo run --quiet --release --example soak -- "$seconds"
