#!/usr/bin/env bash
# Installs what edgecompress builds and is tested with: system packages by apt, wheels from PyPI into deps/.
# Safe to run again: it does only what is missing.
#   --no-apt     leave the system's packages alone
#   --no-peers   leave out deps/venv, the Python packages that conformance tests compare with
set -euo pipefail
cd "$(dirname "$0")/.."
source tools/versions.sh

apt=yes peers=yes
for argument in "$@"; do
  case $argument in
    --no-apt) apt=no ;;
    --no-peers) peers=no ;;
    *) echo "setup.sh: unknown argument $argument (known: --no-apt, --no-peers)" >&2; exit 2 ;;
  esac
done

system_packages=(g++ cmake ninja-build ccache python3 python3-pip python3-venv
  libprotobuf-dev protobuf-compiler libcli11-dev nlohmann-json3-dev libeigen3-dev libyaml-cpp-dev
  libpcre2-dev libssl-dev catch2)

install_system_packages() {
  local missing=() package
  for package in "${system_packages[@]}"; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  echo "setup: installing system packages: ${missing[*]}"
  local as_root=()
  [[ $EUID -eq 0 ]] || as_root=(sudo)
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "${missing[@]}"
}

# The wheels are unpacked beside their target and moved when whole, so that a stopped run leaves nothing half done.
unpack_library_wheels() {
  [[ $(cat deps/libraries.installed 2>/dev/null) != "${library_wheels[*]}" ]] || return 0
  echo "setup: unpacking into deps/: ${library_wheels[*]}"
  rm -rf deps/unpacking && mkdir -p deps/unpacking
  local pip=(python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore
    --no-deps --no-compile --only-binary :all: --target deps/unpacking)
  "${pip[@]}" "${library_wheels[@]}"
  if [[ -e deps/unpacking/torch/lib/libtorch_cuda.so ]]; then
    "${pip[@]}" 'nvidia-cuda-runtime==13.*' 'nvidia-cuda-cupti==13.*'  # libtorch_cpu.so of a CUDA build needs them
  fi
  local entry
  for entry in deps/unpacking/*; do
    rm -rf "deps/${entry##*/}" && mv "$entry" deps/
  done
  rmdir deps/unpacking
  echo "${library_wheels[*]}" > deps/libraries.installed
}

install_peers() {
  [[ $(cat deps/peers.installed 2>/dev/null) != "${peer_wheels[*]}" ]] || return 0
  echo "setup: installing into deps/venv: ${peer_wheels[*]}"
  [[ -x deps/venv/bin/python ]] || python3 -m venv deps/venv
  deps/venv/bin/python -m pip install --quiet --disable-pip-version-check "${peer_wheels[@]}"
  echo "${peer_wheels[*]}" > deps/peers.installed
}

[[ $apt == no ]] || install_system_packages
mkdir -p deps
unpack_library_wheels
[[ $peers == no ]] || install_peers
echo "setup: dependencies are ready"
