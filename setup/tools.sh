#!/usr/bin/env bash
# Leaves .venv-NAME/ with the packages of setup/NAME.lock, for the tests of `make test-NAME`: benchmarks
# (cell-eval, cell-eval2 and cz-benchmarks with the data side, without torch), cell_load (cell-load beside
# the packages of .venv; of `make test-benchmarks`, too) or cloud (the services of AWS on this machine).
# census is the environment of the step CENSUS, with the packages of its image: `make census`.
# Does nothing, and needs no network, when it is there and the lock has not changed.
#
#   setup/tools.sh NAME
set -euo pipefail
cd "$(dirname "$0")/.."

name=$1
lock=setup/$name.lock environment=.venv-$name
if [ "$name" = census ]; then lock=containers/census/requirements.lock; fi
stamp=$environment/setup-$(sha256sum <"$lock" | cut -c 1-16)
[ -e "$stamp" ] && exit

declare -A sizes=([benchmarks]='1.4 GB' [cell_load]='20 MB' [cloud]='0.2 GB' [census]='0.7 GB')
echo "setup: the packages of $lock into $environment/ (${sizes[$name]}, once)" >&2
rm -rf "$environment"
.venv/bin/uv venv --quiet --python "$(.venv/bin/python -c 'import sys; print(sys.executable)')" "$environment"
if ! .venv/bin/uv pip sync --quiet --python "$environment/bin/python" --require-hashes \
    --compile-bytecode "$lock"; then
    rm -rf "$environment"
    echo "$name: its packages cannot be installed (see above)" >&2
    exit 1
fi
if [ "$name" = cell_load ]; then # the packages of .venv come after its own
    of_main=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    echo "$of_main" >"$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/main.pth"
fi
touch "$stamp"
