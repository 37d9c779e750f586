#!/usr/bin/env bash
# Checks the formatting of all C++ sources with clang-format 19; --fix formats them.
set -euo pipefail
cd "$(dirname "$0")/.."
mode=(--dry-run --Werror)
[[ ${1:-} != --fix ]] || mode=(-i)
git ls-files '*.h' '*.cpp' | xargs clang-format-19 "${mode[@]}"
echo "format: every source is as clang-format 19 writes it"
