#!/usr/bin/env bash
# Updates every kind from short-lived threads with short-lived label sets while a client scrapes over
# HTTP. Fails unless totals are exact and memory is flat; examples/soak.rs defines both.
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
# With a single arena, resident memory reflects live memory. By default glibc would spread millions of
# threads over sixteen arenas.
export MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-1}
exec cargo run --quiet --release --example soak -- "$seconds"
