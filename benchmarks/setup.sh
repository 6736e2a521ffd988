#!/usr/bin/env bash
# Makes .venv-bench, where the peers live apart from Spinward. Does nothing when it is complete.
#
# PyTorch is its CPU build wherever pip finds one, for that is what is measured and it is a tenth of
# the download; any version from 2.6 on that is there already is kept. Choose the interpreter with
# PYTHON=python3.12 benchmarks/setup.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv-bench
packages=(
  "torch>=2.6"
  "stable-baselines3>=2.6"
  "sb3-contrib>=2.6"
  "sbx-rl>=0.20"
  "rejax>=0.1.3"
  "gymnasium>=1.1"
  "imageio>=2.14"
  "mujoco>=3.1"
  "Box2D>=2.3.10"
  "pygame-ce>=2.1.3"
  "envpool>=1.0"
  "ale-py>=0.10"
  "opencv-python-headless>=4.8"
  "gymnax>=0.0.9"
  "trl>=1.0"
  "transformers>=5.0"
)
# What its own list asks for is several gigabytes that its agents never use; here is what they use.
alone=("dopamine-rl>=4.1")
packages+=("tensorflow-cpu>=2.16" "gin-config>=0.5" "python-snappy>=0.7" "gym>=0.25")

satisfied() {
  "$venv/bin/python" - "${packages[@]}" "${alone[@]}" <<'PYTHON' 2>/dev/null
import re
import sys
from importlib.metadata import version

def numbers(text):
    return [int(part) for part in re.findall(r"\d+", text.partition("+")[0])[:3]]

for wanted in sys.argv[1:]:
    name, least = wanted.split(">=")
    if numbers(version(name)) < numbers(least):
        sys.exit(1)
PYTHON
}

if [[ -x "$venv/bin/python" ]] && satisfied; then
  exit 0
fi

echo "Setting up $venv for the peers; this downloads some 1.5 GB the first time." >&2
[[ -x "$venv/bin/python" ]] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --upgrade pip
cpu_build=$("$venv/bin/python" -m pip index versions torch 2>/dev/null |
  grep -oE '[0-9]+(\.[0-9]+)+\+cpu' | head -n 1 || true)
[[ -z "$cpu_build" ]] || "$venv/bin/python" -m pip install --quiet "torch==$cpu_build"
"$venv/bin/python" -m pip install --quiet "${packages[@]}"
"$venv/bin/python" -m pip install --quiet --no-deps "${alone[@]}"
satisfied || { echo "$venv is still incomplete after installing ${packages[*]} ${alone[*]}" >&2; exit 1; }
