#!/bin/bash
# Installs packages in clean Debian roots and runs them there, as a user does who has none of the build's tools.
#
#   cpack --config build/release/CPackConfig.cmake -B packages
#   tools/check_package.sh [--root FOLDER] packages/edgecompress-*.deb packages/edgecompress-*.tar.gz
#
# Needs root, debootstrap and a Debian mirror (DEBIAN_MIRROR). FOLDER is a clean root that debootstrap made earlier; it is
# copied, never changed. Exit code 1 when a command fails or says something else than it should.
set -euo pipefail
cd "$(dirname "$0")/.."

mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
suite=${DEBIAN_SUITE:-bookworm}
# What a tar.gz finds on the machine; a .deb asks for the same. LibTorch and ONNX Runtime are in the package.
found=(libstdc++6 libyaml-cpp0.7 libprotobuf-lite32 libpcre2-8-0 libssl3)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
base=""
if [[ ${1:-} == --root ]]; then
  base=$2
  shift 2
fi
[[ $# -gt 0 ]] || { sed -n '2,8p' "$0" >&2; exit 2; }
if [[ -z $base ]]; then
  base=$work/base
  debootstrap --variant=minbase "$suite" "$base" "$mirror" > "$work/debootstrap.log"
fi

inside() { chroot "$root" /usr/bin/env -i PATH="$path" HOME=/root TMPDIR=/tmp LC_ALL=C.UTF-8 "$@"; }

install_package() {
  local package=$1
  cp "$package" "$root/tmp/"
  inside apt-get update -qq
  if [[ $package == *.deb ]]; then
    inside apt-get install -y -qq --no-install-recommends "/tmp/$(basename "$package")" > "$work/apt.log" 2>&1
  else
    inside apt-get install -y -qq --no-install-recommends "${found[@]}" > "$work/apt.log" 2>&1
    mkdir -p "$root/opt"
    tar -xzf "$package" -C "$root/opt"
    path="/opt/$(basename "$package" .tar.gz)/bin:$path"
  fi
}

say() { echo "  \$ edgecompress $*"; inside edgecompress "$@" > "$work/out" 2> "$work/err" || { cat "$work/out" "$work/err" >&2; exit 1; }; }

use_package() {
  local share
  inside sh -c '! command -v cc && ! command -v c++ && ! command -v cmake && ! command -v python3' > "$work/tools" ||
    { echo "the root is not clean:"; cat "$work/tools"; exit 1; } >&2
  say --version --json
  say limits
  grep '^onnxruntime .*libexec/edgecompress/libonnxruntime' "$work/out" || { cat "$work/out"; exit 1; }
  say inspect /model
  say quantize --model /model -o /tmp/int4 --group-size 32 -q
  say export --model /tmp/int4 -o /tmp/artifact -q
  say verify /tmp/artifact --source /tmp/int4
  say eval --artifact /tmp/artifact --text /evaluation.txt --window 128 --windows 4 -q
  grep perplexity "$work/out"
  say generate --artifact /tmp/artifact --prompt "The old house" --max-tokens 8
  cat "$work/out"
  share=$(dirname "$(dirname "$(inside sh -c 'command -v edgecompress')")")/share
  say recipe check "$share/edgecompress/recipes/quickstart.ec.yaml" --model /model
  for file in man/man1/edgecompress-status.1 bash-completion/completions/edgecompress; do
    [[ -s $root$share/$file ]] || [[ -s $root$share/$file.gz ]] || { echo "$share/$file is not there" >&2; exit 1; }
  done
}

for package in "$@"; do
  echo "$(basename "$package") in a clean $suite"
  root=$work/root
  path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
  cp -a "$base" "$root"
  cp -L /etc/resolv.conf "$root/etc/resolv.conf"
  cp -r tests/models/mini-llama "$root/model"
  cp calibration/evaluation.txt "$root/evaluation.txt"
  mount --bind /proc "$root/proc"  # /proc/self/exe says where the program lies
  trap 'umount "$root/proc" 2> /dev/null || true; rm -rf --one-file-system "$work"' EXIT
  install_package "$package"
  use_package
  umount "$root/proc"
  rm -rf "$root"
done
echo "good: $# packages"
