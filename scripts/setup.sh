#!/bin/sh
# Make .venv with the pinned dependencies and Tenuto itself; `make setup` calls it when something changed.
set -eu

venv=.venv
python=${PYTHON:-python3}
log=.tenuto/setup.log
mkdir -p .tenuto

fail() {
    echo "setup: $1" >&2
    echo "  $2" >&2
    exit 1
}

# quietly COMMAND...: run it; show its output only if it fails.
quietly() {
    "$@" >"$log" 2>&1 && return
    cat "$log" >&2
    fail "this failed: $*" "its output is above and in $log"
}

command -v "$python" >/dev/null || fail "there is no $python" "install Python 3.11 or newer"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Tenuto needs Python 3.11 or newer; this is $("$python" --version)" \
        "name a newer one: make setup PYTHON=python3.12"

if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
    echo "setup 1/3: virtual environment in $venv"
    if ! "$python" -c 'import ensurepip' >/dev/null 2>&1; then
        # Debian keeps ensurepip in a package of its own.
        if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
            fail "$python cannot make virtual environments: its module ensurepip is missing" \
                "on Debian and Ubuntu: sudo apt-get install -y python3-venv"
        fi
        echo "           (installing Debian's python3-venv, which $python needs for that)"
        quietly apt-get update
        quietly env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3-venv
    fi
    rm -rf "$venv"
    quietly "$python" -m venv "$venv"
fi

pip="$venv/bin/python -m pip --disable-pip-version-check --no-input --quiet"
echo "setup 2/3: pinned dependencies (about a minute the first time)"
quietly $pip install --require-hashes -r requirements.txt -r requirements-dev.txt
echo "setup 3/3: tenuto itself"
quietly $pip install --no-deps --no-build-isolation --editable .
touch "$venv/.ready"
