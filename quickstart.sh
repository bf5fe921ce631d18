#!/bin/bash
# From nothing to trained eviction agents and a report: installs what apt lacks, builds, runs the embedded job.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
export LC_ALL=C.UTF-8

./install_packages.sh </dev/null
bazel build //launcher:kvp
bazel-bin/launcher/kvp launch launcher/jobs/quickstart.textproto

echo
echo "Done. Open the report in a browser: file://$PWD/out/quickstart/report.html"
