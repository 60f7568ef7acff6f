#!/usr/bin/env bash
# Leaves .venv-pandas3/ with the packages of setup/pandas3.lock: the data side with pandas 3 and the
# newest anndata, without torch. Does nothing, and needs no network, when it is there and the lock
# has not changed. anndata 0.13 needs Python 3.12: without one, or without the packages, it makes
# nothing, prints why, and succeeds. PYTHON_PANDAS3 names an interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

environment=.venv-pandas3
stamp=$environment/setup-$(sha256sum <setup/pandas3.lock | cut -c 1-16)
[ -e "$stamp" ] && exit

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null; }
python=
for candidate in "${PYTHON_PANDAS3:-}" python3.13 python3.12 python3 \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[2-9]*/bin/python3; do
    if [ -n "$candidate" ] && is_new_enough "$candidate"; then python=$candidate; break; fi
done
rm -rf "$environment"
if [ -z "$python" ]; then
    echo 'test-pandas3: SKIPPED: no Python 3.12 or later, which anndata 0.13 needs;' \
        'name one: PYTHON_PANDAS3=/path/to/python3.12 make test-pandas3' >&2
    exit
fi
echo "setup: the packages of setup/pandas3.lock into $environment/ (1 GB, once)" >&2
if ! .venv/bin/uv venv --quiet --python "$("$python" -c 'import sys; print(sys.executable)')" \
        "$environment" ||
    ! .venv/bin/uv pip sync --quiet --python "$environment/bin/python" --require-hashes \
        setup/pandas3.lock; then
    rm -rf "$environment"
    echo 'test-pandas3: SKIPPED: its packages cannot be installed (see above)' >&2
    exit
fi
touch "$stamp"
