#!/usr/bin/env bash
# Checks that this commit can be released as VERSION, and tags it. Publishing stays a command that a
# person types: this script prints it.
#
#   tests/release.sh VERSION
set -euo pipefail
cd "$(dirname "$0")/.."
version=${1:?which version?}
# Dependencies stand before those who need them, as cargo orders them itself.
crates="tallies-macros tallies $(ls crates | sed 's/^/tallies-/' | xargs)"

fail() {
    echo "$*" >&2
    exit 1
}
[ -z "$(git status --porcelain)" ] || fail "commit first"
[ "$(git symbolic-ref --short HEAD)" = main ] || fail "not on main"
! git rev-parse -q --verify "refs/tags/v$version" >/dev/null || fail "v$version exists"
grep -q "^## $version (" CHANGELOG.md && ! grep -q "^## $version (unreleased)" CHANGELOG.md ||
    fail "CHANGELOG.md needs a heading \`## $version (date)\`"
for crate in $crates; do
    have=$(cargo metadata --format-version 1 --no-deps | tr '{' '\n' | sed -n "s/.*\"name\":\"$crate\",\"version\":\"\([^\"]*\)\".*/\1/p" | head -n 1)
    [ "$have" = "$version" ] || fail "$crate has version $have"
done

tests/run.sh --all
git diff --exit-code tests/proven.txt || fail "commit tests/proven.txt"
last=$(git describe --tags --abbrev=0 --match 'v*' 2>/dev/null || true)
if [ -n "$last" ]; then
    cargo semver-checks --version >/dev/null 2>&1 || cargo install --locked cargo-semver-checks
    cargo semver-checks -p tallies --baseline-rev "$last" --all-features
fi
cargo deny --version >/dev/null 2>&1 || cargo install --locked cargo-deny
cargo deny --workspace check
# shellcheck disable=SC2046
cargo publish --dry-run $(printf -- '-p %s ' $crates)

git tag -a "v$version" -m "tallies $version"
echo "tagged v$version; now: git push --follow-tags && cargo publish $(printf -- '-p %s ' $crates)"
