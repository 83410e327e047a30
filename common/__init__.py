"""What every other folder may use: the user's errors and safe writes."""
