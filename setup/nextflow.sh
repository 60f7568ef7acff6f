#!/usr/bin/env bash
# Gives the project a Nextflow engine.
#
#   setup/nextflow.sh              leaves .venv/bin/nextflow: the nextflow on PATH if it is recent
#                                  enough, else an engine assembled with Maven
#   setup/nextflow.sh VERSION ...  assembles these engines: .nextflow-engine/VERSION/nextflow
set -euo pipefail
cd "$(dirname "$0")/.."

oldest=24.10.0
default=25.04.4
link=.venv/bin/nextflow

recent_enough() { # VERSION
    [ "$(printf '%s\n' "$oldest" "$1" | sort -V | head -n 1)" = "$oldest" ]
}

# The path of a suitable nextflow on PATH, other than the one this script leaves.
installed() {
    local candidate version
    while read -r candidate; do
        [ "$candidate" -ef "$link" ] || [ "$candidate" = "$PWD/$link" ] && continue
        version=$("$candidate" -v 2>/dev/null | sed -n 's/.*version \([0-9.]*\).*/\1/p') || continue
        [ -n "$version" ] && recent_enough "$version" && echo "$candidate" && return
    done < <(type -ap nextflow)
    return 1
}

assemble() { # VERSION
    local engine=$PWD/.nextflow-engine/$1
    if [ ! -d "$engine/lib" ]; then
        if ! command -v java >/dev/null || ! command -v mvn >/dev/null; then
            cat >&2 <<-END
				No nextflow >= $oldest on PATH, and no Java and Maven to assemble one with. Install either
				  Nextflow (needs Java 17 or later):  curl -s https://get.nextflow.io | bash
				  or Java and Maven, for example:     apt-get install openjdk-17-jre-headless maven
				and run this again.
			END
            return 1
        fi
        echo "setup: assembling Nextflow $1 with Maven" >&2
        mvn --batch-mode --quiet --file setup/engine/pom.xml -Dnextflow.version="$1" \
            dependency:copy-dependencies -DoutputDirectory="$engine/partial" >&2
        mv "$engine/partial" "$engine/lib"
    fi
    cmp --silent setup/engine/launcher "$engine/nextflow" ||
        install -m 755 setup/engine/launcher "$engine/nextflow"
}

if [ $# -gt 0 ]; then
    for version; do assemble "$version"; done
elif [ ! -x "$link" ]; then
    if engine=$(installed); then
        echo "setup: using $engine" >&2
    else
        assemble "$default"
        engine=$PWD/.nextflow-engine/$default/nextflow
    fi
    ln -sfn "$engine" "$link"
elif [ "$link" -ef ".nextflow-engine/$default/nextflow" ]; then
    assemble "$default" # the launcher, if it is another now
fi
