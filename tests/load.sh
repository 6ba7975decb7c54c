#!/usr/bin/env bash
# Load on the example service, with its layer and without, in turns: requests counted are requests made, nothing stays in
# flight, series are bounded; and the requests per second of both, side by side.
#
#   tests/load.sh [rounds [seconds]]     3 rounds of 10 s each unless it says otherwise
set -euo pipefail
cd "$(dirname "$0")/.."
rounds=${1:-3} seconds=${2:-10}
command -v wrk >/dev/null || {
    echo "wrk is missing: apt-get install wrk" >&2
    exit 1
}
cargo build --quiet --release --all-features --example service
service=${CARGO_TARGET_DIR:-target}/release/examples/service
log=$(mktemp)
trap 'rm -f "$log"; [ -z "${pid:-}" ] || kill "$pid" 2>/dev/null || true' EXIT

load() { # further options of the service; sets rate, made
    "$service" --listen 127.0.0.1:0 --metrics 127.0.0.1:0 --no-traffic "$@" >"$log" &
    pid=$!
    until grep -q '^Try' "$log"; do sleep 0.1; done
    app=$(sed -n 's/^Serving the application on //p' "$log")
    metrics=$(sed -n 's/^Serving metrics on //p' "$log")
    answer=$(wrk --threads 1 --connections 32 --duration "${seconds}s" "${app}users/7")
    rate=$(awk '/^Requests\/sec/ { print $2 }' <<<"$answer")
    made=$(awk '/requests in/ { print $1 }' <<<"$answer")
    sleep 1
    page=$(curl -sS "$metrics")
    kill "$pid" && wait "$pid" 2>/dev/null || true
    pid=
}

for round in $(seq "$rounds"); do
    load --unmeasured
    without=$rate
    load
    counted=$(awk '/^http_requests_total/ { n += $2 } END { print n + 0 }' <<<"$page")
    waiting=$(awk '/^http_requests_in_flight/ { n += $2 } END { print n + 0 }' <<<"$page")
    series=$(grep -c '^http_requests_total' <<<"$page")
    # Those that wrk leaves behind at its end are requests as well: one a connection at most.
    if [ "$counted" -lt "$made" ] || [ "$counted" -gt $((made + 32)) ] || [ "$waiting" != 0 ] || [ "$series" -gt 2 ]; then
        echo "made $made, counted $counted, in flight $waiting, $series series" >&2
        exit 1
    fi
    awk -v with="$rate" -v without="$without" -v made="$made" -v counted="$counted" 'BEGIN {
        printf "made %d, counted %d; %d requests per second with the layer, %d without: %.3f\n", made, counted, with, without, with / without
    }'
done
