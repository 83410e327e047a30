"""A run's directory and what a person sees of it: state, checkpoints, samples, progress, stopping."""
