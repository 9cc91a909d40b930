#!/bin/sh
# Build the compiled wheel, install it beside the dependencies of .venv, and run the engine's tests on it.
set -eu

place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT

sh scripts/wheel.sh "$place/wheels"
.venv/bin/python -m venv --without-pip "$place/env"
packages=$("$place/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$packages/dependencies.pth"
.venv/bin/python -m pip --python "$place/env/bin/python" install --quiet --disable-pip-version-check --no-deps \
    "$place"/wheels/*.whl
"$place/env/bin/python" -c '
from tenuto.authoring import execution
from tenuto.engine import advance
for module in (advance, execution):
    assert module.__file__.endswith(".so"), module.__file__
'
"$place/env/bin/python" -m pytest -p no:cacheprovider tests/authoring tests/engine tests/runtime tests/testing tests/spec/test_conformance.py
