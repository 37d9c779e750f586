#!/bin/sh
# Every fault that tests/faults makes, in full: kills, power failures, every call and allocation that can fail, every fault row.
# tools/fault_sweep.sh [KILLS] [ALLOCATIONS]   by hand; hours on one core. ALLOCATIONS: of each command so many, evenly; 0: every one
set -eu
cd "$(dirname "$0")/.."
kills=${1:-1000}
allocations=${2:-500}
cmake --preset dev
cmake --build build/dev --target edgecompress edgecompress-engine failing_calls recorded_calls
program=build/dev/bin/edgecompress
faults=build/dev/tests/faults

python3 tests/faults/kill_runs.py --program $program --kills "$((kills / 2))" --stride 1 --model tiny
python3 tests/faults/kill_runs.py --program $program --kills "$((kills - kills / 2))" --stride 1
python3 tests/faults/power_loss.py --program $program --record $faults/librecorded_calls.so
python3 tests/faults/call_failures.py --program $program --calls $faults/libfailing_calls.so --allocations "$allocations"
python3 tests/faults/call_failures.py --program $program --calls $faults/libfailing_calls.so --allocations "$allocations" \
  --commands round --overwrite
python3 tests/faults/fault_runs.py --program $program --calls $faults/libfailing_calls.so --samples 0 --large
