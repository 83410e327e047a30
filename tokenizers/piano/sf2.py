"""Reads one program of a SoundFont 2 file (SoundFont Technical Specification 2.04)."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Generator numbers (section 8.1.2), and defaults of those that a zone may omit.
FILTER_CUTOFF, FILTER_ENVELOPE, HOLD, DECAY, RELEASE = 8, 11, 35, 36, 38
INSTRUMENT, KEY_RANGE, ATTENUATION, COARSE_TUNE, FINE_TUNE, SAMPLE, ROOT_KEY = 41, 43, 48, 51, 52, 53, 58
DEFAULTS = {
    FILTER_CUTOFF: 13500,
    FILTER_ENVELOPE: 0,
    HOLD: -12000,
    DECAY: -12000,
    RELEASE: -12000,
    KEY_RANGE: 127 << 8,
    ATTENUATION: 0,
    COARSE_TUNE: 0,
    FINE_TUNE: 0,
}

Generators = dict[int, int]
Header = tuple[bytes, int, int, int, int, int, int, int]


@dataclass(frozen=True)
class Zone:
    """One looped sample, and how it plays the keys from `low` to `high`."""

    low: int
    high: int
    samples: NDArray[np.float32]  # (S,) in [-1, 1], up to one sample after the loop
    loop: tuple[int, int]  # start and end index; after the end, playback continues at the start
    sample_rate: int
    root: float  # MIDI pitch of the samples at their sample rate
    cutoff: float  # Hz, of a second-order low-pass filter, with the modulation envelope open
    attenuation: float  # dB
    hold: float  # seconds at full loudness
    decay: float  # dB per second after that
    release: float  # dB per second after the key comes up


def read_zones(data: bytes, program: int) -> list[Zone]:
    """The zones of a melodic program (bank 0) with looped samples and no velocity layers.

    The preset level is used only to find instruments; its offsets are not applied. Raises ValueError if `data` is not a
    SoundFont 2 file with that program.
    """
    try:
        return list(_zones(data, program))
    except (KeyError, IndexError, StopIteration, struct.error) as error:
        raise ValueError(f"not a SoundFont 2 file with program {program}") from error


def _zones(data: bytes, program: int) -> Iterator[Zone]:
    chunks = {tag: body for _, parts in _chunks(data[12:]) for tag, body in _chunks(parts[4:])}
    presets = [*struct.iter_unpack("<20s3H12x", chunks[b"phdr"])]  # name, program, bank, first zone
    instruments = [*struct.iter_unpack("<20sH", chunks[b"inst"])]  # name, first zone
    samples = [*struct.iter_unpack("<20s5IBb4x", chunks[b"shdr"])]
    pcm = np.frombuffer(chunks[b"smpl"], "<i2")
    chosen = next(i for i, preset in enumerate(presets[:-1]) if preset[1:3] == (program, 0))
    for preset_zone in _generators(chunks, b"p", presets[chosen][3], presets[chosen + 1][3]):
        if INSTRUMENT not in preset_zone:
            continue
        number = preset_zone[INSTRUMENT]
        shared: Generators = DEFAULTS
        for own in _generators(chunks, b"i", instruments[number][1], instruments[number + 1][1]):
            zone = shared | own
            if SAMPLE in zone:
                yield _zone(zone, samples[zone[SAMPLE]], pcm)
            else:
                shared = zone  # a first zone without a sample sets defaults for the instrument


def _zone(zone: Generators, sample: Header, pcm: NDArray[np.int16]) -> Zone:
    _, start, _, loop_start, loop_end, sample_rate, key, correction = sample
    tuning = zone[COARSE_TUNE] + (zone[FINE_TUNE] + correction) / 100
    return Zone(
        low=zone[KEY_RANGE] & 255,
        high=zone[KEY_RANGE] >> 8,
        samples=pcm[start : loop_end + 1].astype(np.float32) * np.float32(1 / 32768),
        loop=(loop_start - start, loop_end - start),
        sample_rate=sample_rate,
        root=zone.get(ROOT_KEY, key) - tuning,
        cutoff=8.176 * 2 ** ((zone[FILTER_CUTOFF] + zone[FILTER_ENVELOPE]) / 1200),
        attenuation=zone[ATTENUATION] / 10,
        hold=_seconds(zone[HOLD]),
        decay=100 / _seconds(zone[DECAY]),
        release=100 / _seconds(zone[RELEASE]),
    )


def _seconds(timecents: int) -> float:
    return float(2 ** (timecents / 1200))


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Tag and contents of each chunk in a RIFF body."""
    start = 0
    while start + 8 <= len(data):
        tag, length = struct.unpack_from("<4sI", data, start)
        yield tag, data[start + 8 : start + 8 + length]
        start += 8 + length + length % 2


def _generators(chunks: dict[bytes, bytes], level: bytes, first: int, last: int) -> Iterator[Generators]:
    """Generators of zones `first` to `last` - 1. `level` is b"p" for presets, b"i" for instruments."""
    bags = [*struct.iter_unpack("<HH", chunks[level + b"bag"])]  # first generator, first modulator
    generators = [*struct.iter_unpack("<Hh", chunks[level + b"gen"])]
    for zone in range(first, last):
        yield dict(generators[bags[zone][0] : bags[zone + 1][0]])
