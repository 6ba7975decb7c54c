# Installs what the steps of tests/run.sh need, where it is missing, and says so. Debian packages and
# toolchain components come prebuilt; only two cargo tools are compiled. What cannot be had is an
# error. Sourced by tests/run.sh and tests/load.sh.

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# need COMMAND PACKAGE ...: installs the Debian packages whose command is missing, all at once.
need() {
    local missing=()
    while [ $# -gt 0 ]; do
        case $1 in
        /*) [ -e "$1" ] || missing+=("$2") ;;
        *) command -v "$1" >/dev/null || missing+=("$2") ;;
        esac
        shift 2
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    echo "installing Debian packages: ${missing[*]}"
    as_root apt-get -qq update
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null
}

# nightly_component NAME
nightly_component() {
    [[ $(rustup toolchain list) == *nightly* ]] || rustup toolchain install nightly --profile minimal
    rustup component list --toolchain nightly --installed | grep -q "^$1" && return
    echo "installing the nightly component $1"
    rustup component add --toolchain nightly "$1"
}

# rust_target NAME
rust_target() {
    rustup target list --installed | grep -qx "$1" && return
    echo "installing the standard library for $1"
    rustup target add "$1"
}

# cargo_tool COMMAND CRATE VERSION: compiled, since no registry of binaries is assumed.
cargo_tool() {
    cargo "$1" --version >/dev/null 2>&1 && return
    echo "installing the cargo tool $2 $3"
    CARGO_TARGET_DIR=target/tools cargo install --quiet --locked --debug "$2" --version "$3"
    rm -rf target/tools
}

# The Python packages that parse pages, logs of histograms and requests of OTLP, in target/parsers.
python_parser() {
    local packages="prometheus_client==0.26.0 hdrhistogram==0.10.3 opentelemetry-proto==1.45.2"
    need python3 python3
    if ! target/parsers/bin/python -c "import prometheus_client, hdrh, opentelemetry.proto" 2>/dev/null; then
        echo "installing the Python packages $packages, in target/parsers"
        if ! python3 -m venv target/parsers 2>/dev/null; then
            need /usr/lib/python3/dist-packages/venv python3-venv
            python3 -m venv --clear target/parsers
        fi
        # shellcheck disable=SC2086
        target/parsers/bin/pip install --quiet $packages
    fi
}

# The servers of Debian's next release, unpacked into target/servers: `apt-get` has lists of its own
# there, and installs nothing. They run on Debian 12.
servers_of_today() {
    local folder=$PWD/target/servers programs="prometheus promtool victoria-metrics prometheus-pushgateway"
    if [ ! -e "$folder/whole" ]; then
        echo "unpacking the servers of Debian's suite forky: $programs"
        need /usr/share/keyrings/debian-archive-keyring.gpg debian-archive-keyring
        rm -rf "$folder" && mkdir -p "$folder"/{lists/partial,cache/archives/partial,packages}
        # The mirror that this machine uses. Labels are known once its lists are here.
        local mirror
        mirror=$(debian_mirror)
        [ -n "$mirror" ] || { as_root apt-get -qq update && mirror=$(debian_mirror); }
        [ -n "$mirror" ] || { echo "this machine has no mirror of Debian" >&2 && return 1; }
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror forky main" >"$folder/sources.list"
        : >"$folder/status"
        local options=(-qq -o Dir::Etc::sourcelist="$folder/sources.list" -o Dir::Etc::sourceparts=-
            -o Dir::State::lists="$folder/lists" -o Dir::State::status="$folder/status" -o Dir::Cache="$folder/cache"
            -o APT::Sandbox::User=root -o Acquire::Languages=none)
        apt-get "${options[@]}" update
        # shellcheck disable=SC2086
        (cd "$folder/packages" && apt-get "${options[@]}" download $programs)
        local package program
        for package in "$folder"/packages/*.deb; do dpkg -x "$package" "$folder"; done
        for program in $programs; do "$folder/usr/bin/$program" --version >/dev/null 2>&1; done
        (cd "$folder/packages" && ls) >"$folder/whole"
        rm -rf "$folder"/{packages,cache,lists,usr/share,usr/bin/vm*,etc,lib}
    fi
}
debian_mirror() { apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Label: Debian" | head -n 1; }

tools_for_servers() {
    need prometheus prometheus promtool prometheus prometheus-pushgateway prometheus-pushgateway \
        victoria-metrics victoria-metrics redis-server redis-server redis-cli redis-tools \
        prometheus-node-exporter prometheus-node-exporter chromium chromium chromedriver chromium-driver \
        wrk wrk curl curl
    python_parser
    servers_of_today
    # VictoriaMetrics does not print its version.
    dpkg-query -W prometheus prometheus-pushgateway victoria-metrics redis-server chromium
    cat target/servers/whole
}

# Copies the crate with the one test that has no other dependencies, so that it builds in seconds;
# prints the folder.
small_tree() {
    local tree=$CARGO_TARGET_DIR/tree
    rm -rf "$tree" && mkdir -p "$tree/tests/golden"
    cp -r Cargo.toml Cargo.lock build.rs README.md macros src "$tree"
    cp -r --parents crates/client crates/names crates/check/src/pages "$tree"
    cp tests/everything.rs "$tree/tests"
    cp -r tests/golden/share "$tree/tests/golden"
    perl -0pi -e 's/^members = .*/members = ["macros", "crates\/names"]/m; s/^default-members = .*\n//m; s/\[target\.\x27cfg\(not\(loom\)\)\x27\.dev-dependencies\]\n.*?\n\n//s; s/\[profile\.release\.package\]\n.*?(\n\n|\z)//s; s/\[\[(example|test)\]\].*?\n\n//sg' "$tree/Cargo.toml"
    echo "$tree"
}
