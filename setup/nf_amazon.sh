#!/usr/bin/env bash
# Gives the Nextflow that setup/nextflow.sh assembles its plugin for AWS (S3 and Batch):
# .nextflow-engine/25.04.4/plugins/nf-amazon-2.15.0.
#
#   setup/nf_amazon.sh
#   NEXTFLOW_SOURCE=/path/to/nextflow setup/nf_amazon.sh
#
# Maven has the libraries of the plugin and not the plugin: it is compiled from the source code of
# Nextflow, a git repository by its path or address. An ordinary installation of Nextflow downloads
# its plugins, and needs none of this.
set -euo pipefail
cd "$(dirname "$0")/.."

engine=$PWD/.nextflow-engine/25.04.4
plugin=$engine/plugins/nf-amazon-2.15.0
source=${NEXTFLOW_SOURCE:-https://github.com/nextflow-io/nextflow}
# sha256 of all files that are compiled, and of all jars.
code=57305b08f1535d9d51b30e84a17f9b3bfa04ae0acda5f43dab957b4d0cf5cfce
jars=407d3329e0f0c97ca6837f5070f8ac9339a98ec39be5dff26997316eb63cf138
[ -d "$plugin" ] && exit

fail() { echo "nf-amazon: $1" >&2; exit 1; }
digest() { find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -d ' ' -f 1; }

[ -d "$engine/lib" ] || fail "no Nextflow at $engine: make engines"
command -v mvn javac >/dev/null || fail 'needs Maven and a JDK: apt-get install openjdk-17-jdk-headless maven'
partial=$(mktemp -d "$engine/plugin.XXXXXX")
trap 'rm -rf "$partial"' EXIT

if [ ! -d "$source" ]; then
    GIT_TERMINAL_PROMPT=0 git clone --quiet --bare --depth 1 --branch v25.04.4 --filter=blob:none \
        "$source" "$partial/repository" || fail "the source code of Nextflow cannot be had from $source;
name a git repository that has it: NEXTFLOW_SOURCE=/path/to/nextflow"
    source=$partial/repository
fi
mkdir "$partial/code" "$partial/plugin"
git -C "$source" archive v25.04.4:plugins/nf-amazon src/main src/resources | tar -x -C "$partial/code"
[ "$(cd "$partial/code" && digest)" = "$code" ] || fail "the code in $source is not that of nf-amazon 2.15.0"

echo 'setup: compiling nf-amazon 2.15.0, a minute, once' >&2
mvn --batch-mode --quiet --file setup/nf_amazon/pom.xml dependency:copy-dependencies \
    -DexcludeGroupIds=org.slf4j -DoutputDirectory="$partial/plugin/lib" >&2
[ "$(cd "$partial/plugin/lib" && digest)" = "$jars" ] || fail "the libraries are others than those known: $jars"
libraries=$(printf '%s:' "$engine"/lib/*.jar "$partial"/plugin/lib/*.jar)
cp -R "$partial/code/src/resources" "$partial/plugin/classes"
find "$partial/code/src/main" -name '*.groovy' -o -name '*.java' >"$partial/sources"
java -cp "$libraries" org.codehaus.groovy.tools.FileSystemCompiler -j -cp "$libraries" \
    -d "$partial/plugin/classes" "@$partial/sources" >"$partial/log" 2>&1 || { cat "$partial/log" >&2; exit 1; }
mkdir -p "$engine/plugins"
mv "$partial/plugin" "$plugin"
