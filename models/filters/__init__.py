"""Causal filters over time: the layers that may mix the decoder, except the wavelet itself."""
