#!/bin/bash
# Installs what is missing of third_party/packages.txt: ./install_packages.sh [--test]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

want_test=0
for argument in "$@"; do
  case "$argument" in
    --test) want_test=1 ;;
    *)
      echo "install_packages.sh: unknown argument \"$argument\" (only --test)" >&2
      exit 2
      ;;
  esac
done

missing=()
while read -r package kind; do
  case "$package" in "" | "#"*) continue ;; esac
  if [ "${kind:-}" = test ] && [ "$want_test" = 0 ]; then continue; fi
  state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  if [ "$state" != installed ]; then missing+=("$package"); fi
done <third_party/packages.txt

if [ "${#missing[@]}" -eq 0 ]; then exit 0; fi

echo "installing ${#missing[@]} Debian packages: ${missing[*]}"
as_root=()
if [ "$(id -u)" != 0 ]; then
  if ! command -v sudo >/dev/null; then
    echo "install_packages.sh: not root and no sudo; install them yourself: apt-get install ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi
"${as_root[@]}" apt-get update -q
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
  apt-get install -y -q --no-install-recommends "${missing[@]}"
