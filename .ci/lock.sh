#!/usr/bin/env bash
# Rebuild requirements.lock from pyproject.toml for every supported Python (3.10 to 3.12). Needs `uv` on the PATH.
# The CUDA libraries are left out: torch itself asks for the right ones where its GPU build is installed, and the CPU build
# needs none.
set -euo pipefail
cd "$(dirname "$0")/.."
{
    echo "# Exact versions for Python 3.10 to 3.12, made by .ci/lock.sh. Installed by the Makefile."
    uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 --no-header --no-annotate --quiet |
        grep -vE '^(nvidia-|cuda-|triton==)'
} > requirements.lock.tmp
mv requirements.lock.tmp requirements.lock
