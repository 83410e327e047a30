"""The GPT, the layers between its blocks, its generation and its checkpoints. Token ids in, token ids out."""
