#!/bin/sh
# Mutates the corpora of tests/fuzz for 60 seconds each, under the address and undefined-behaviour sanitizers.
# tools/fuzz.sh [SECONDS]   stops at the first input that is not read or refused; it lies in build/asan/tests/fuzz then
set -eu
cd "$(dirname "$0")/.."
cmake --preset asan
cmake --build build/asan --target fuzz
cd build/asan/tests/fuzz
exec ./fuzz ../../../../tests/fuzz/corpus --seconds "${1:-60}" --seed "$(date +%s)"
