#!/usr/bin/env bash
# From a clean clone to a compressed model: sets up, builds, and runs recipes/quickstart.ec.yaml on the embedded model.
# Arguments are given to tools/setup.sh (for example --no-apt).
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== quickstart 1/3: dependencies"
tools/setup.sh --no-peers "$@"
echo "== quickstart 2/3: build (a few minutes the first time)"
cmake --workflow --preset release
echo "== quickstart 3/3: compress tests/models/mini-llama with recipes/quickstart.ec.yaml"
build/release/bin/edgecompress run recipes/quickstart.ec.yaml --model tests/models/mini-llama \
  -o build/quickstart --overwrite
