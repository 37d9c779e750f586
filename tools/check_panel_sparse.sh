#!/usr/bin/env bash
# What the tests of the sparse operator need beside the usual build: sanitizers, a minute of changed matrices, and the
# kernels of another processor under emulation, where its compiler can be had.
# Usage: tools/check_panel_sparse.sh [seconds of fuzzing = 60]
set -euo pipefail
cd "$(dirname "$0")/.."

echo "== panel_sparse 1/2: sanitizers"
cmake --preset asan
cmake --build build/asan --target panel_sparse_test fuzz_panel_sparse
# ONNX Runtime is no sanitized library, and the operator's one must find the sanitizer in the program that loads it.
build/asan/tests/panel_sparse/panel_sparse_test "~[op]"
build/asan/tests/panel_sparse/fuzz_panel_sparse "${1:-60}"

echo "== panel_sparse 2/2: aarch64"
as_root=()
[[ $EUID -eq 0 ]] || as_root=(sudo)
if ! { command -v aarch64-linux-gnu-g++ && command -v qemu-aarch64; } >/dev/null; then
  "${as_root[@]}" apt-get install -q -y --no-install-recommends g++-aarch64-linux-gnu qemu-user ||
    echo "panel_sparse: g++-aarch64-linux-gnu and qemu-user cannot be installed here: the aarch64 check is skipped"
fi
if { command -v aarch64-linux-gnu-g++ && command -v qemu-aarch64; } >/dev/null; then
  cmake -S tests/panel_sparse/cross -B build/aarch64 -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_FLAGS=-O2 \
    -DCMAKE_TOOLCHAIN_FILE="$PWD/tools/cmake/aarch64.cmake"
  cmake --build build/aarch64
  for cpu in max cortex-a76 cortex-a57; do  # with products of matrices, with dot products alone, without
    qemu-aarch64 -cpu "$cpu" -L /usr/aarch64-linux-gnu build/aarch64/panel_sparse_test
  done
fi
