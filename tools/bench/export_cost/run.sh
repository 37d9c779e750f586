#!/usr/bin/env bash
# Installs what onnxruntime-genai's builder needs besides deps/venv, then runs run.py with the same arguments.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
builder=$root/deps/genai-builder
wheels=(onnx-ir==1.1.0)
[[ -x $root/deps/venv/bin/python ]] || { echo "run.sh: deps/venv is absent; run tools/setup.sh" >&2; exit 1; }
if [[ $(cat "$builder/installed" 2>/dev/null) != "${wheels[*]}" ]]; then
  "$root/deps/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
    --target "$builder" "${wheels[@]}"
  echo "${wheels[*]}" > "$builder/installed"
fi
PYTHONPATH=$builder exec "$root/deps/venv/bin/python" "$root/tools/bench/export_cost/run.py" "$@"
