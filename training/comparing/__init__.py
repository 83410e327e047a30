"""Variants over seeds and learning rates: trained side by side, measured, reported."""
