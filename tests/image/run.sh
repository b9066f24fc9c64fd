#!/usr/bin/env bash
# Lints the Dockerfile. Building the image needs a registry for its base, and is left to `docker build`.
set -euo pipefail
cd "$(dirname "$0")/../.."
# shellcheck source=tests/tools.sh
. tests/tools.sh

"$(python_tools)/hadolint" --failure-threshold style Dockerfile
echo "the Dockerfile is sound"
