#!/usr/bin/env bash
# The model of one-gpu.sh on all GPUs of one machine. Each process reads its part of every batch, so the steps are the same.
#
#   bash recipes/one-machine.sh      # more flags of training/train.py may follow; --resume continues
#
# Needs: as one-gpu.sh. The batch, 64 windows, must be a multiple of the number of GPUs.
# Time:  not run on several GPUs yet. A step of so small a model takes 16 ms on one H100, so a second GPU may save little.
# Loss:  that of one-gpu.sh but for rounding; tests/training/test_processes.py compares two processes with one, on CPUs.
set -euo pipefail
cd "$(dirname "$0")/.."

SOURCE=${SOURCE:-http://mattmahoney.net/dc/text8.zip}
DATA=${DATA:-data/text8}
MIXER=${MIXER:-learnable}
OUT=${OUT:-runs/one-machine-$MIXER}
PRESET=${PRESET:-paper}
GPUS=${GPUS:-gpu} # "gpu": as many as there are

[ -d "$DATA" ] || python training/prepare_text.py --source "$SOURCE" --out "$DATA"
torchrun --standalone --nproc_per_node "$GPUS" \
    training/train.py --preset "$PRESET" --data "$DATA" --out "$OUT" --model.mixer "$MIXER" \
    --steps 2800 --eval-every 280 --optimizer.name adamw --optimizer.lr 3e-3 --optimizer.warmup-steps 300 "$@"
