#!/usr/bin/env bash
# Leaves .venv/ with the packages of requirements.lock and the library itself; does nothing, and
# needs no network, when it is there and the lock has not changed. PYTHON chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

uv_version=0.13.9
python=${PYTHON:-python3}
stamp=.venv/setup-$({ echo "$uv_version"; cat requirements.lock; } | sha256sum | cut -c 1-16)
[ -e "$stamp" ] && exit

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "c2sflow needs Python 3.11 or later, found: $("$python" --version 2>&1 || true)." \
        "Install one, or name it: PYTHON=/path/to/python3.11 make setup" >&2
    exit 1
fi
if [ ! -x .venv/bin/python ] && ! "$python" -m venv .venv; then
    rm -rf .venv
    echo "$python cannot make a virtual environment: install its venv module" \
        "(apt-get install python3-venv)" >&2
    exit 1
fi

# With bytecode: every task imports torch and transformers, in half of the time.
echo 'setup: installing the locked packages into .venv/ (7 GB, some minutes the first time)' >&2
.venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes --compile-bytecode \
    requirements.lock
# The library straight from bin/, editable: `import c2sflow` in scripts, tests and notebooks.
.venv/bin/python -c '
import pathlib, sys, sysconfig
target = pathlib.Path(sysconfig.get_path("purelib"), "c2sflow.pth")
target.write_text(f"{pathlib.Path(sys.argv[1]).resolve()}\n", encoding="utf-8")
' bin
rm -f .venv/setup-*
touch "$stamp"
