#!/usr/bin/env bash
# Leaves .venv-cloud/ with the packages of setup/cloud.lock: the services of AWS on this machine. Does
# nothing, and needs no network, when it is there and the lock has not changed.
set -euo pipefail
cd "$(dirname "$0")/.."

environment=.venv-cloud
stamp=$environment/setup-$(sha256sum <setup/cloud.lock | cut -c 1-16)
[ -e "$stamp" ] && exit

echo "setup: the packages of setup/cloud.lock into $environment/ (0.2 GB, once)" >&2
rm -rf "$environment"
.venv/bin/uv venv --quiet --python "$(.venv/bin/python -c 'import sys; print(sys.executable)')" "$environment"
if ! .venv/bin/uv pip sync --quiet --python "$environment/bin/python" --require-hashes \
    --compile-bytecode setup/cloud.lock; then
    rm -rf "$environment"
    echo 'test-cloud: its packages cannot be installed (see above)' >&2
    exit 1
fi
touch "$stamp"
