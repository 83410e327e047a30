#!/usr/bin/env bash
# The model of one-gpu.sh on several machines. Give the same command on each, with its own NODE:
#
#   HEAD=first.example NODES=2 NODE=0 bash recipes/several-machines.sh
#   HEAD=first.example NODES=2 NODE=1 bash recipes/several-machines.sh
#
# The first machine, NODE=0, writes OUT. The machines need no common file system: each prepares the same DATA itself.
# To continue, add --resume on all.
#
# Needs: as one-machine.sh, on each machine. All must reach HEAD, the first one's name or address, at PORT.
# Time:  not run on GPUs yet.
# Loss:  that of one-gpu.sh but for rounding; tests/test_recipes.py runs two processes on one machine.
set -euo pipefail
cd "$(dirname "$0")/.."

HEAD=${HEAD:?name or address of the first machine}
NODES=${NODES:-2}
NODE=${NODE:?number of this machine, from 0}
PORT=${PORT:-29500}
SOURCE=${SOURCE:-http://mattmahoney.net/dc/text8.zip}
DATA=${DATA:-data/text8}
MIXER=${MIXER:-learnable}
OUT=${OUT:-runs/several-machines-$MIXER}
PRESET=${PRESET:-paper}
GPUS=${GPUS:-gpu} # of each machine

[ -d "$DATA" ] || python training/prepare_text.py --source "$SOURCE" --out "$DATA"
# The static rendezvous numbers the machines as NODE says, so that the same one writes when the run is resumed.
torchrun --nnodes "$NODES" --node_rank "$NODE" --rdzv_backend static --rdzv_endpoint "$HEAD:$PORT" --nproc_per_node "$GPUS" \
    training/train.py --preset "$PRESET" --data "$DATA" --out "$OUT" --model.mixer "$MIXER" \
    --steps 2800 --eval-every 280 --optimizer.name adamw --optimizer.lr 3e-3 --optimizer.warmup-steps 300 "$@"
