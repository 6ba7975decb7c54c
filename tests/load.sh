#!/usr/bin/env bash
# Load on the example service.
#
#   tests/load.sh exact [seconds]
#       Sends requests for 5 s, including a scanner's with made-up paths and methods. Checks that the
#       service counts every request in its series, that it has no other series, and that no request
#       stays in flight.
#   tests/load.sh [seconds]
#       Does the same for 30 s. Then compares the service with and without the layer, for 30 s each, in
#       alternating slices of 3 s, so that other work of the machine affects both. Prints requests per
#       second and processor time per request. The service may count more requests than wrk reports,
#       since wrk abandons requests at the end of a slice: at most one per connection.
#
# wrk uses a thread of its own, so on two cores the service has little more than one; the rate depends
# on it. The processor time is the service's alone.
set -euo pipefail
cd "$(dirname "$0")/.."
exact=
if [ "${1:-}" = exact ]; then exact=1; shift; fi
seconds=${1:-${exact:+5}} seconds=${seconds:-30}
connections=32 slice=3

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }
for tool in wrk curl; do
    command -v "$tool" >/dev/null && continue
    echo "installing the Debian package $tool"
    as_root apt-get -qq update
    DEBIAN_FRONTEND=noninteractive as_root apt-get -qq install -y --no-install-recommends "$tool" >/dev/null
done

# For exact counts the debug build of the other tests is good enough.
if [ -n "$exact" ]; then
    cargo build --quiet --workspace --all-features --example service
    service=${CARGO_TARGET_DIR:-target}/debug/examples/service
else
    cargo build --quiet --release --example service
    service=${CARGO_TARGET_DIR:-target}/release/examples/service
fi
dir=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$dir"
}
trap finish EXIT

fail() {
    echo "$*" >&2
    exit 1
}
start() { # name, further options; sets pid, app, metrics
    "$service" --listen 127.0.0.1:0 --metrics 127.0.0.1:0 --no-traffic "${@:2}" >"$dir/$1" &
    pid=$!
    pids+=("$pid")
    for _ in $(seq 300); do
        grep -q '^Try' "$dir/$1" && break
        kill -0 "$pid" 2>/dev/null || fail "the service has ended"
        sleep 0.1
    done
    app=$(sed -n 's/^Serving the application on //p' "$dir/$1")
    metrics=$(sed -n 's/^Serving metrics on //p' "$dir/$1")
    [ -n "$app" ] || fail "the service did not start within 30 s"
}
page() { curl -sS --noproxy '*' --max-time 10 "$metrics"; }
sum() { awk -v name="$1" '$1 ~ "^" name "[{]" { n += $NF } END { print n + 0 }' <<<"$2"; }
calm() { # waits until no request is in flight; sets text
    for _ in $(seq 100); do
        text=$(page)
        [ "$(sum http_requests_in_flight "$text")" = 0 ] && return
        sleep 0.1
    done
    fail "$(sum http_requests_in_flight "$text") requests are in flight 10 s after the last"
}

# ---- Every request, by its series ----

start measured
measured=$pid
timeout $((seconds + 60)) wrk --threads 1 --connections $connections --duration $((seconds + 2))s --timeout 30s \
    --script tests/load.lua "$app" -- "$seconds" >"$dir/report" 2>"$dir/made" ||
    fail "wrk failed: $(cat "$dir/report" "$dir/made")"
calm
read -r _ answered _ failed <<<"$(head -n 1 "$dir/made")"
[ "$failed" = 0 ] || fail "$failed requests failed"
sed 1d "$dir/made" | sort >"$dir/expected"
{ grep '^http_requests_total' <<<"$text" || true; } | sort >"$dir/counted"
made=$(awk '{ n += $NF } END { print n + 0 }' "$dir/expected")
[ "$made" -gt 0 ] && [ "$made" = "$answered" ] || fail "made $made requests, $answered were answered"
diff -u "$dir/expected" "$dir/counted" || fail "the requests made (-) are not those counted (+)"
for family in http_request_duration_seconds_count http_response_start_seconds_count http_response_size_bytes_count; do
    [ "$(sum $family "$text")" = "$made" ] || fail "$family is $(sum $family "$text"), not $made"
done
[ "$(sum http_requests_failed_total "$text")" = 0 ] || fail "requests failed"
echo "made $made requests in $seconds s; counted the same, in $(wc -l <"$dir/counted") series; none in flight"
[ -z "$exact" ] || exit 0

# ---- With the layer and without ----

ticks=$(getconf CLK_TCK)
spent() { awk '{ print $14 + $15 }' "/proc/$1/stat"; }
load() { # process, address, name; adds a line to $dir/slices: name, requests, requests per second, ticks
    local before
    before=$(spent "$1")
    answer=$(timeout $((slice + 60)) wrk --threads 1 --connections $connections --duration ${slice}s "$2users/7")
    echo "$3 $(awk '/requests in/ { print $1 }' <<<"$answer") $(awk '/^Requests\/sec/ { print $2 }' <<<"$answer") \
        $(($(spent "$1") - before))" >>"$dir/slices"
}
first=$made with=$app page_of=$metrics
start unmeasured --unmeasured
metrics=$page_of
for turn in $(seq $(((seconds + slice - 1) / slice))); do
    # Alternates the order, so that neither is always first.
    if [ $((turn % 2)) = 1 ]; then
        load "$measured" "$with" with
        load "$pid" "$app" without
    else
        load "$pid" "$app" without
        load "$measured" "$with" with
    fi
done
calm
made=$(awk '$1 == "with" { n += $2 } END { print n }' "$dir/slices")
turns=$(grep -c '^with ' "$dir/slices")
counted=$(($(sum http_requests_total "$text") - first))
left=$((counted - made))
if [ $left -lt 0 ] || [ $left -gt $((turns * connections)) ]; then
    fail "wrk made $made requests, $counted were counted"
fi
[ "$(grep -c '^http_requests_total' <<<"$text")" -le $(($(wc -l <"$dir/counted") + 1)) ] || fail "series that nobody asked for"
echo "made $made requests, counted $counted: $left of them left at the end of $turns slices; none in flight"
awk -v ticks="$ticks" '
    { requests[$1] += $2; rate[$1] += $3; spent[$1] += $4; n[$1]++; by[$1, n[$1]] = $3 }
    END {
        for (i = 1; i <= n["with"]; i++) ratio[i] = by["with", i] / by["without", i]
        for (i = 1; i <= n["with"]; i++) for (j = i + 1; j <= n["with"]; j++) if (ratio[j] < ratio[i]) {
            swap = ratio[i]; ratio[i] = ratio[j]; ratio[j] = swap
        }
        middle = n["with"] % 2 ? ratio[(n["with"] + 1) / 2] : (ratio[n["with"] / 2] + ratio[n["with"] / 2 + 1]) / 2
        printf "%d requests a second with the layer, %d without: %.3f (slices from %.3f to %.3f, the middle %.3f)\n",
            rate["with"] / n["with"], rate["without"] / n["without"], rate["with"] / rate["without"],
            ratio[1], ratio[n["with"]], middle
        for (way in n) cost[way] = spent[way] / ticks / requests[way] * 1e6
        printf "%.2f us of processor time a request with the layer, %.2f without\n", cost["with"], cost["without"]
    }' "$dir/slices"
