#!/usr/bin/env bash
# Leaves .venv-benchmarks/ with the packages of setup/benchmarks.lock: cell-eval, cell-eval2 and
# cz-benchmarks with the data side, without torch. Does nothing, and needs no network, when it is
# there and the lock has not changed.
set -euo pipefail
cd "$(dirname "$0")/.."

environment=.venv-benchmarks
stamp=$environment/setup-$(sha256sum <setup/benchmarks.lock | cut -c 1-16)
[ -e "$stamp" ] && exit

echo "setup: the packages of setup/benchmarks.lock into $environment/ (1.4 GB, once)" >&2
rm -rf "$environment"
.venv/bin/uv venv --quiet --python "$(.venv/bin/python -c 'import sys; print(sys.executable)')" "$environment"
if ! .venv/bin/uv pip sync --quiet --python "$environment/bin/python" --require-hashes \
    --compile-bytecode setup/benchmarks.lock; then
    rm -rf "$environment"
    echo 'test-benchmarks: its packages cannot be installed (see above)' >&2
    exit 1
fi
touch "$stamp"
