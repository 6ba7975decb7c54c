#!/usr/bin/env bash
# Soak test of processes that share a directory: they count all kinds, and are killed, stopped and
# started at random. Totals stay exact and never go back.
#
#   tests/share.sh        one minute
#   tests/share.sh 10m    ten minutes (s, m or h)
set -euo pipefail
cd "$(dirname "$0")/.."
duration=${1:-1m}
case $duration in
*s) seconds=${duration%s} ;;
*m) seconds=$((${duration%m} * 60)) ;;
*h) seconds=$((${duration%h} * 3600)) ;;
*) seconds=$duration ;;
esac
export TALLIES_SOAK_SECONDS=$seconds
cargo test --workspace --all-features --test share -- --ignored --nocapture totals_stay_exact
