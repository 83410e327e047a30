"""A player for sound that is still growing. It never interrupts what is being played.

Gradio's player starts again with every new value. This one takes a longer clip only while nothing is played: at once,
when the sound is paused (it keeps the position), or at its end (it returns to the beginning).
"""

import base64
from pathlib import Path
from typing import Any

import gradio as gr
from torch import Tensor

PLAYER_HTML = """<div class="player" role="group" aria-label="LABEL" hidden>
<button type="button" aria-label="Play"><svg viewBox="0 0 16 16" aria-hidden="true"><path d="M4 2l10 6-10 6z"/></svg>
</button><input type="range" min="0" max="1" step="any" value="0" aria-label="Position"><span></span>
<audio preload="auto"></audio></div>"""

# `props.value` is null (nothing to play), {pcm, rate} (16-bit PCM of the clip so far) or {file} (the whole clip).
PLAYER_JS = """
const root = element.querySelector('.player'), audio = root.querySelector('audio');
const button = root.querySelector('button'), slider = root.querySelector('input'), label = root.querySelector('span');
const icons = { Play: 'M4 2l10 6-10 6z', Pause: 'M3 2h4v12H3zM9 2h4v12H9z' };
let next = null;  // address of a longer clip
let length = 0;  // of the current clip, in seconds
let growing = false;

const clock = (seconds) => {
  const tenths = Math.round(10 * seconds);
  return Math.floor(tenths / 600) + ':' + ((tenths % 600) / 10).toFixed(1).padStart(4, '0');
};

const wav = (pcm, rate) => {
  const bytes = Uint8Array.from(atob(pcm), (character) => character.charCodeAt(0));
  const head = new DataView(new ArrayBuffer(44));
  const words = (at, text) => [...text].forEach((c, i) => head.setUint8(at + i, c.charCodeAt(0)));
  words(0, 'RIFF'); head.setUint32(4, 36 + bytes.length, true); words(8, 'WAVEfmt ');
  head.setUint32(16, 16, true); head.setUint16(20, 1, true); head.setUint16(22, 1, true);  // PCM, one channel
  head.setUint32(24, rate, true); head.setUint32(28, 2 * rate, true);
  head.setUint16(32, 2, true); head.setUint16(34, 16, true);
  words(36, 'data'); head.setUint32(40, bytes.length, true);
  return URL.createObjectURL(new Blob([head, bytes], { type: 'audio/wav' }));
};

const release = (address) => { if (address && address.startsWith('blob:')) URL.revokeObjectURL(address); };

const show = () => {
  if (Number.isFinite(audio.duration)) length = audio.duration;
  slider.max = length || 1;
  slider.value = audio.currentTime;
  label.textContent = clock(audio.currentTime) + ' / ' + clock(length) + (growing ? ' so far' : '');
  const does = audio.paused ? 'Play' : 'Pause';
  button.setAttribute('aria-label', does);
  button.querySelector('path').setAttribute('d', icons[does]);
};

const change = () => {
  if (next === null || !audio.paused) return;
  const position = audio.ended ? 0 : audio.currentTime;
  release(audio.src);
  audio.src = next;
  audio.currentTime = position;
  next = null;
};

const follow = () => { show(); if (!audio.paused) requestAnimationFrame(follow); };

const update = () => {
  const value = props.value;
  release(next);
  next = null;
  root.hidden = !value;
  if (!value) {
    audio.pause();
    release(audio.src);
    audio.removeAttribute('src');
    audio.load();
    length = 0;
    return;
  }
  growing = !value.file;
  next = growing ? wav(value.pcm, value.rate) : value.file.url;
  change();
  show();
};

button.addEventListener('click', () => audio.paused ? audio.play().catch(() => {}) : audio.pause());
slider.addEventListener('input', () => { audio.currentTime = slider.value; show(); });
audio.addEventListener('play', () => {
  document.querySelectorAll('.player audio').forEach((other) => { if (other !== audio) other.pause(); });
  follow();
});
for (const event of ['pause', 'ended']) audio.addEventListener(event, () => { change(); show(); });
for (const event of ['loadedmetadata', 'durationchange', 'seeked']) audio.addEventListener(event, show);
watch('value', update);
update();
"""


def player(label: str) -> gr.HTML:
    """The component. It is hidden while there is nothing to play."""
    return gr.HTML(None, html_template=PLAYER_HTML.replace("LABEL", label), js_on_load=PLAYER_JS)


def growing(samples: Tensor, sample_rate: int) -> dict[str, Any] | None:
    """The player's value for the beginning of a clip.

    The value of a longer clip starts with that of a shorter one (3 samples are 6 bytes, 8 characters of base64), so
    gradio sends only what was added.

    Args:
        samples: (S,) in -1..1.
        sample_rate: in Hz.

    Returns:
        The value; None if the clip is empty.
    """
    whole = samples[: len(samples) // 3 * 3]
    pcm = (whole.clamp(-1, 1) * 32767).round().numpy().astype("<i2")
    return {"pcm": base64.b64encode(pcm.tobytes()).decode(), "rate": sample_rate} if len(pcm) else None


def finished(path: str | Path) -> dict[str, Any]:
    """The player's value for a sound file, which gradio serves."""
    return {"file": {"path": str(path), "meta": {"_type": "gradio.FileData"}}}
