"""Prepare data, train, evaluate, compare. Training and evaluating read prepared token files only."""
