#!/usr/bin/env bash
# Runs artifacts in several versions of ONNX Runtime and onnxruntime-genai, each installed into a folder of its own under
# deps/, and prints a table. Needs network; not part of the test suite.
#
# Usage: runtime_versions.sh [EDGECOMPRESS]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
edgecompress=${1:-$root/build/dev/bin/edgecompress}
python=$root/deps/venv/bin/python
[[ -x $python ]] || { echo "runtime_versions.sh: deps/venv is absent; run tools/setup.sh" >&2; exit 1; }

# The newest of both are in deps/venv. Each onnxruntime-genai goes with the ONNX Runtime it names.
runtimes=(1.20.1 1.22.1 1.25.1)
genais=(0.9.2:1.22.1 0.13.2:1.25.1)

install() {  # FOLDER WHEEL
  [[ $(cat "$1/installed" 2>/dev/null) == "$2" ]] && return
  echo "installing $2" >&2
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --only-binary :all: \
    --target "$1" "$2"
  echo "$2" > "$1/installed"
}

for version in "${runtimes[@]}"; do install "$root/deps/ort-$version" "onnxruntime==$version"; done
for pair in "${genais[@]}"; do install "$root/deps/genai-${pair%:*}" "onnxruntime-genai==${pair%:*}"; done
OMP_NUM_THREADS=1 exec "$python" "$root/tests/conformance/runtime_versions.py" "$edgecompress" \
  --runtimes "${runtimes[@]}" --genais "${genais[@]}"
