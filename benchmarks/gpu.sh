#!/usr/bin/env bash
# What one GPU makes of training and decoding, beside the aims, in less than ten minutes. From the project's root:
#
#   OUT=runs/gpu bash benchmarks/gpu.sh
#   QUICK=1 DEVICE=cpu OUT=runs/gpu bash benchmarks/gpu.sh      # tries the script itself, with tiny models
#
# LIMIT is the seconds for everything, 530 by default. Each part has its own, so that one that hangs costs no other its
# turn. OUT gets figures.jsonl and a log of each part. KIT/whl may hold wheels to install for this script alone.
set -uo pipefail
BEGIN=$(date +%s) LIMIT=${LIMIT:-530} PYTHON=${PYTHON:-python3}
export OUT=${OUT:?give a folder for the figures} DEVICE=${DEVICE:-cuda} QUICK=${QUICK:-} PYTHONUNBUFFERED=1
export PYTHONPATH=$PWD/.typing${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$OUT" && rm -f "$OUT/figures.jsonl"
if [ -d "${KIT:-.}/whl" ]; then
  site=$(mktemp -d)
  "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$site" "${KIT:-.}"/whl/*.whl && PYTHONPATH+=:$site
fi

part() {  # NAME SECONDS
  local left=$((LIMIT - $(date +%s) + BEGIN)) seconds=$2 status
  [ "$seconds" -lt "$left" ] || seconds=$left
  [ "$seconds" -gt 0 ] || { echo "$1: no time left"; return; }
  timeout -k 5 "$seconds" "$PYTHON" benchmarks/gpu.py "$1" 2>"$OUT/$1.log"
  status=$?
  [ $status = 0 ] || echo "$1: exit $status after at most $seconds s: $(tail -n 1 "$OUT/$1.log")"
}

part training 130
part layers 160
part decoding 130
part without-graph 50
part transformers 60
"$PYTHON" benchmarks/gpu.py summary
