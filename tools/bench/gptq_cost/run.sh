#!/usr/bin/env bash
# Installs llm-compressor into an environment of its own, deps/llm-compressor or $LLM_COMPRESSOR_ENVIRONMENT, then runs
# run.py with the same arguments.
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
environment=${LLM_COMPRESSOR_ENVIRONMENT:-$root/deps/llm-compressor}
wheels=(llmcompressor==0.14.0.1 torch==2.13.0)
if [[ $(cat "$environment/installed" 2>/dev/null) != "${wheels[*]}" ]]; then
  [[ -x $environment/bin/python ]] || python3 -m venv "$environment"
  "$environment/bin/python" -m pip install --quiet --disable-pip-version-check "${wheels[@]}"
  echo "${wheels[*]}" > "$environment/installed"
fi
exec "$environment/bin/python" "$root/tools/bench/gptq_cost/run.py" --python "$environment/bin/python" "$@"
