#!/usr/bin/env bash
# Sets up, builds and runs every test. Arguments are given to tools/setup.sh (for example --no-apt).
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== test 1/2: dependencies, with the peers that conformance tests compare with"
tools/setup.sh "$@"
echo "== test 2/2: build and test"
cmake --workflow --preset dev
