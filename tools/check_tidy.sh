#!/usr/bin/env bash
# Runs clang-tidy 19 with .clang-tidy's list over the sources of the modules that do not use LibTorch, and of the
# programs (a LibTorch source takes half a minute each). Give file names to check those instead.
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset tidy >/dev/null
cmake --build build/tidy --target edgecompress_onnx_ir >/dev/null  # generated headers
if (($# == 0)); then
  set -- $(git ls-files 'lib/base/*.cpp' 'lib/checkpoint/*.cpp' 'lib/tokenizer/*.cpp' 'lib/report/*.cpp' 'lib/ort/*.cpp' \
    'lib/weights/*.cpp' 'lib/linear_algebra/*.cpp' 'lib/llama/*.cpp' 'lib/methods/*.cpp' 'lib/quantize/*.cpp' \
    'lib/recipe/*.cpp' 'lib/onnx_export/*.cpp')
fi
printf '%s\n' "$@" | xargs -P "$(nproc)" -n 1 clang-tidy-19 --quiet -p build/tidy --extra-arg=-Wno-sign-conversion
echo "tidy: nothing to complain about in $# sources"
