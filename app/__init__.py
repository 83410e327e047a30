"""The page and the command line: load checkpoints, generate, draw."""
