"""Ready-made prompts, all of the project's own making, and typed text in a model's alphabet."""
