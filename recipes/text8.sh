#!/usr/bin/env bash
# The baseline and the paper's two wavelets on text8, and their bits per character on the whole test split.
#
#   bash recipes/text8.sh                   # more flags of training/train_text.py may follow
#   PRESET=paper bash recipes/text8.sh      # the paper's shape and 393 million tokens each, for a GPU
#   SOURCE=../shared/data/text/wiki-text8style.txt.gz bash recipes/text8.sh
#
# The same command continues after an interruption.
#
# Needs: waveletgpt in the active environment, and a network for text8, or SOURCE=FILE, a text of a-z and spaces.
# Time:  cpu: an hour for each model on one core of an EPYC with AVX-512, longer on older ones; paper: not run on a GPU yet.
# Loss:  docs/training.md, section "text8".
set -euo pipefail
cd "$(dirname "$0")/.."

SOURCE=${SOURCE:-http://mattmahoney.net/dc/text8.zip}
DATA=${DATA:-data/text8}
PRESET=${PRESET:-cpu}
OUT=${OUT:-runs/text8-$PRESET}

[ -d "$DATA" ] || python training/prepare_text.py --source "$SOURCE" --alphabet text8 --out "$DATA"
for mixer in none haar learnable; do
    run=$OUT/$mixer
    resume=--no-resume
    [ ! -e "$run/run.json" ] || resume=--resume
    python training/train_text.py --preset "$PRESET" --data "$DATA" --out "$run" --model.mixer "$mixer" "$resume" "$@"
    python training/evaluate.py --checkpoint "$run/best" --data "$DATA" --split test --windows 0 > "$run/test.json"
done
echo "Bits per character on the test split:"
for mixer in none haar learnable; do
    sed -n "s/.*\"bits_per_character\": \([0-9.]*\).*/$mixer \1/p" "$OUT/$mixer/test.json"
done
