#!/usr/bin/env bash
# Leaves .venv/ with the packages of requirements.lock and the library itself; does nothing, and
# needs no network, when it is there and the lock has not changed.
#
# PYTHON  the interpreter
# TORCH   cuda, or cpu: 4 GB less, without CUDA's libraries. By default what .venv/ has; a new one
#         has CUDA where there is a GPU or a scheduler, whose nodes may have some
set -euo pipefail
cd "$(dirname "$0")/.."

uv_version=0.13.9
python=${PYTHON:-python3}
there() { compgen -G "$1" >/dev/null; }
if [ -n "${TORCH:-}" ] || ! there '.venv/setup-*'; then torch=$(setup/torch_kind)
elif there '.venv/setup-cpu-*'; then torch=cpu
else torch=cuda; fi
[ "$(uname -s)" = Linux ] || torch=cuda # elsewhere torch's wheel has no CUDA
case $torch in
    cuda) stamp=.venv/setup- packages=requirements.lock size='7.6 GB' ;;
    cpu) stamp=.venv/setup-cpu- packages=.venv/requirements-cpu.lock
        size='3.5 GB, torch without CUDA; with it: TORCH=cuda make setup' ;;
esac
stamp+=$({ echo "$uv_version"; cat requirements.lock; } | sha256sum | cut -c 1-16)
[ -e "$stamp" ] && exit

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "c2sflow needs Python 3.11 or later, found: $("$python" --version 2>&1 || true)." \
        "Install one, or name it: PYTHON=/path/to/python3.11 make setup" >&2
    exit 1
fi
# Of the other kind files would be left in torch's folder.
if { [ $torch = cpu ] && ! there '.venv/setup-cpu-*'; } || { [ $torch = cuda ] && there '.venv/setup-cpu-*'; }; then
    rm -rf .venv
fi
if [ ! -x .venv/bin/python ] && ! "$python" -m venv .venv; then
    rm -rf .venv
    echo "$python cannot make a virtual environment: install its venv module" \
        "(apt-get install python3-venv)" >&2
    exit 1
fi

# With bytecode: every task imports torch and transformers, in half of the time.
echo "setup: installing the locked packages into .venv/ ($size; some minutes the first time)" >&2
.venv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$uv_version"
if [ $torch = cpu ]; then containers/cpu_lock <requirements.lock >"$packages"; fi
.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes --compile-bytecode \
    "$packages"
if [ $torch = cpu ]; then
    .venv/bin/python containers/without_cuda .venv/lib/python*/site-packages
    if ! .venv/bin/python -c 'import torch'; then
        echo 'setup: torch does not start here without the libraries of CUDA: with them, then' >&2
        rm -rf .venv
        TORCH=cuda exec setup/environment.sh
    fi
fi
# The library straight from bin/, editable: `import c2sflow` in scripts, tests and notebooks.
.venv/bin/python -c '
import pathlib, sys, sysconfig
target = pathlib.Path(sysconfig.get_path("purelib"), "c2sflow.pth")
target.write_text(f"{pathlib.Path(sys.argv[1]).resolve()}\n", encoding="utf-8")
' bin
rm -f .venv/setup-*
touch "$stamp"
