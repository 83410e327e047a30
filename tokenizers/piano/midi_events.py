"""The ids of `MidiTokenizer`'s events, for code that works on ids and needs none of the libraries for MIDI."""

PAD = 0
NOTE_ON = range(1, 129)
"""Keys 0 to 127 go down."""
NOTE_OFF = range(129, 257)
"""Keys 0 to 127 come up."""
VELOCITY = range(257, 289)
"""How hard the key before was struck, in 32 bins."""
TIME_SHIFT = range(289, 389)
"""1 to 100 steps of 10 ms pass."""

EVENTS_SHA256 = "8013e46302c7dcbe674060a2bf73c2abc953e1379e54c80a136a7619cceef086"
"""What `MidiTokenizer.to_dict` tells of the vocabulary with these ids."""
