#!/bin/bash
# Copies what gpu_check needs besides LibTorch from Debian's packages into a folder that a machine
# without them can build with: tests/gpu/pack_dependencies.sh [FOLDER]. The default is where run.sh
# looks for it, out/gpu_dependencies. Static libraries: the machine needs the same processor
# architecture and a glibc that isn't older.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=${1:-out/gpu_dependencies}
multiarch=$(gcc -print-multiarch)
include=/usr/include
library=/usr/lib/$multiarch

headers=(absl nlohmann google/protobuf openssl pcre2.h utf8proc.h)
libraries=("$library"/libabsl_*.a)
for name in crypto pcre2-8 protobuf utf8proc; do libraries+=("$library/lib$name.a"); done

missing=()
for header in "${headers[@]}"; do
  [ -e "$include/$header" ] || missing+=("$include/$header")
done
for path in "${libraries[@]}" "$include/$multiarch/openssl"; do
  [ -e "$path" ] || missing+=("$path")
done
command -v protoc >/dev/null || missing+=(protoc)
if [ "${#missing[@]}" -gt 0 ]; then
  echo "pack_dependencies.sh: missing: ${missing[*]} (./install_packages.sh installs them)" >&2
  exit 1
fi

rm -rf "$folder"
mkdir -p "$folder/usr/include/google" "$folder/usr/lib/$multiarch" "$folder/generated"
for header in "${headers[@]}"; do
  cp -rL "$include/$header" "$folder/usr/include/$header"
done
# OpenSSL's headers are in two folders in Debian; here in one.
cp -L "$include/$multiarch/openssl/"*.h "$folder/usr/include/openssl/"
cp "${libraries[@]}" "$folder/usr/lib/$multiarch/"
protoc --cpp_out="$folder/generated" proto/trace.proto
echo "packed $(du -sh "$folder" | cut -f1) into $folder"
