"""How good generated samples are: measured beside held-out passages of the same length."""
