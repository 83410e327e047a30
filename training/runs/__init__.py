"""A run: its directory, state, checkpoints, samples, display, and how it is stopped."""
