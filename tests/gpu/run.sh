#!/bin/bash
# Builds the decoder and the capture by themselves and checks and times them on this machine's GPU:
#   tests/gpu/run.sh [FLAGS OF gpu_check]     (--help lists them)
#   tests/gpu/run.sh --devices=cpu --tiny --lengths=512      where there is no GPU
# LIBTORCH names the folder with LibTorch 2.x's include/ and lib/; else python3's torch is taken.
# KVP_DEPS names what pack_dependencies.sh made; else out/gpu_dependencies, else the system's
# packages are taken. Everything that is written goes to KVP_GPU_FOLDER, by default out/gpu: the
# build, the models (16 GB without --tiny) and results.json.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

folder=${KVP_GPU_FOLDER:-out/gpu}
libtorch=${LIBTORCH:-}
dependencies=${KVP_DEPS:-}
problems=()

if [ -z "$libtorch" ]; then
  libtorch=$(python3 -c 'import os, torch; print(os.path.dirname(torch.__file__))' 2>/dev/null) ||
    problems+=("no LibTorch: set LIBTORCH, or install torch for python3")
fi
if [ -n "$libtorch" ] && [ ! -e "$libtorch/include/ATen/ATen.h" ]; then
  problems+=("LIBTORCH=$libtorch: no include/ATen/ATen.h there")
fi
# Wheels before 2.6 were built with the C++ library's old ABI, in which nothing else is.
abi=$(python3 -c 'import torch; print(torch.__version__, torch.compiled_with_cxx11_abi())' \
  2>/dev/null || true)
if [ -z "${LIBTORCH:-}" ] && [ "${abi##* }" = False ]; then
  problems+=("torch ${abi%% *} has the old C++ ABI: 2.6 or newer is needed")
fi

if [ -z "$dependencies" ] && [ -d out/gpu_dependencies ]; then dependencies=out/gpu_dependencies; fi
if [ -n "$dependencies" ]; then
  if [ -d "$dependencies/usr/include/absl" ]; then
    dependencies=$(realpath "$dependencies")
  else
    problems+=("KVP_DEPS=$dependencies: not made by tests/gpu/pack_dependencies.sh")
  fi
else
  for header in absl/status/status.h nlohmann/json.hpp google/protobuf/message.h openssl/evp.h \
    pcre2.h utf8proc.h; do
    [ -e "/usr/include/$header" ] ||
      problems+=("no $header: run tests/gpu/pack_dependencies.sh on Debian and set KVP_DEPS")
  done
fi

command -v cmake >/dev/null || problems+=("no cmake")
command -v "${CXX:-c++}" >/dev/null || problems+=("no C++ compiler (${CXX:-c++})")
if [ "${#problems[@]}" -gt 0 ]; then
  printf 'run.sh: %s\n' "${problems[@]}" >&2
  exit 1
fi

generator=()
if command -v ninja >/dev/null; then generator=(-G Ninja); fi
mkdir -p "$folder"
cmake -S tests/gpu -B "$folder/build" "${generator[@]}" -DLIBTORCH="$libtorch" \
  -DKVP_DEPS="$dependencies"
cmake --build "$folder/build" --parallel "${KVP_JOBS:-$(nproc)}"
exec "$folder/build/gpu_check" --directory="$folder/models" --json="$folder/results.json" "$@"
