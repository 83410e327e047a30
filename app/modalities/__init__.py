"""One file for each kind of data: reading prompts, drawing results, writing files."""
