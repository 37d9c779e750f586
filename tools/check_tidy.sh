#!/usr/bin/env bash
# Runs clang-tidy 19 with .clang-tidy's list over the sources of the modules that do not use LibTorch, and of the
# programs (a LibTorch source takes half a minute each). Give file names to check those instead.
set -euo pipefail
cd "$(dirname "$0")/.."
cmake --preset tidy >/dev/null
cmake --build build/tidy --target edgecompress_onnx_ir >/dev/null  # generated headers
if (($# == 0)); then
  modules=(base checkpoint linear_algebra llama methods onnx_export ort panel_sparse quantize recipe report resume
    tokenizer verify weights)
  for source in $(git ls-files "${modules[@]/#/lib/}" tools/edgecompress); do
    if grep -q "\"file\": \".*/$source\"" build/tidy/compile_commands.json; then set -- "$@" "$source"; fi
  done
fi
printf '%s\n' "$@" | xargs -P "$(nproc)" -n 1 clang-tidy-19 --quiet -p build/tidy --extra-arg=-Wno-sign-conversion \
  --extra-arg=-Wno-unknown-warning-option \
  --extra-arg=-Wno-deprecated-declarations  # in the order: g++'s own warnings; libstdc++ 12's std::stable_sort
echo "tidy: nothing to complain about in $# sources"
