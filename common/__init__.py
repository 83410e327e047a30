"""Code that every other folder may use: errors, files, units, progress, the kinds of data."""
