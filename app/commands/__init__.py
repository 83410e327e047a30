"""The commands of `waveletgpt`: their options, and a file for each beside `app`."""
