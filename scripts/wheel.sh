#!/bin/sh
# Build a wheel whose hot path is compiled (docs/decisions/0011), for the Python of .venv: in dist/, or where $1 says.
set -eu

bin=.venv/bin
wheels=${1:-dist}
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT

# From a source distribution: a build among the sources would leave compiled modules there, which Python then
# loads in place of what is edited.
"$bin/hatchling" build -t sdist -d "$build" >/dev/null
HATCH_BUILD_HOOK_ENABLE_MYPYC=1 "$bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps \
    --wheel-dir "$wheels" "$build"/*.tar.gz
ls "$wheels"/*.whl
