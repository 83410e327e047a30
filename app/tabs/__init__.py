"""The tabs beside text, audio and music: the blind test, training runs, reports of comparisons."""
