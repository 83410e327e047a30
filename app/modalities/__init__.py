"""A file for each kind of data: prompts, results and files."""
