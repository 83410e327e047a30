"""The wavelet layer, the GPT around it, its generation and its checkpoints. Token ids in, token ids out."""
