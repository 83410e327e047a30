"""One run on several processes: who computes what, and where."""
