#!/usr/bin/env bash
# Updates every kind from threads that come and go, with label sets that come and go, scraped over HTTP all the while:
# resident memory stays flat, and totals are exact.
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
exec cargo run --quiet --release --example soak -- "$seconds"
