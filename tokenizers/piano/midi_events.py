"""Ids of `MidiTokenizer`'s events, for code that works on ids without MIDI libraries."""

PAD = 0
NOTE_ON = range(1, 129)
"""Key down, pitches 0 to 127."""
NOTE_OFF = range(129, 257)
"""Key up, pitches 0 to 127."""
VELOCITY = range(257, 289)
"""Velocity of the key down before it, in 32 bins."""
TIME_SHIFT = range(289, 389)
"""Time shift of 1 to 100 steps of 10 ms."""

EVENTS_SHA256 = "8013e46302c7dcbe674060a2bf73c2abc953e1379e54c80a136a7619cceef086"
"""Digest of these events in `MidiTokenizer.to_dict`."""
