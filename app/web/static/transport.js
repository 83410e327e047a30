// The transport of a tab: plays card A or B at one position, so that one can switch between them while they sound.
//
// gr.HTML runs this file as the body of a function of `element`, `props` and `watch`. `props.value` is what
// transport.py's `transport_value` returns, or empty.

const FADE = 0.004; // time constant in seconds: long enough not to click, too short to notice
const AHEAD = 0.02; // seconds from a command until it is heard, so that both cards begin on the same sample
const ENOUGH = 1; // seconds of new sound after which a playback that had to wait goes on
const ICONS = { Play: 'M8 5v14l11-7z', Pause: 'M6 5h4v14H6zM14 5h4v14h-4z' };
const SPACE_IS_TAKEN = 'input:not([type=range], [type=radio]), textarea, select, button, a, summary, audio, video, '
  + '[contenteditable], [role=button], [role=tab], [role=slider], [role=option]';

const root = element.querySelector('.transport');
const tab = root.closest(`#${root.dataset.name}-tab`) ?? document.body;
const button = root.querySelector('button');
const icon = root.querySelector('path');
const slider = root.querySelector('input[type=range]');
const time = root.querySelector('.time');
const match = root.querySelector('input[type=checkbox]');
const choices = [...root.querySelectorAll('input[type=radio]')];
const labels = [...root.querySelectorAll('.choice span')].map((span) => span.textContent);
const calm = matchMedia('(prefers-reduced-motion: reduce)');
const life = new AbortController(); // ends the listeners outside of `element`

// One sound at a time in the whole page: whoever begins to sound stops the one before.
const page = (window.waveletgptSound ??= listenToMedia());

function listenToMedia() {
  const shared = {
    context: null,
    owner: null,
    take(owner) {
      if (this.owner !== owner) this.owner?.pause();
      this.owner = owner;
    },
  };
  // Gradio's player uses an <audio> outside the document, whose events nobody else sees.
  const { play } = HTMLMediaElement.prototype;
  HTMLMediaElement.prototype.play = function () {
    shared.take(this);
    return play.call(this);
  };
  document.addEventListener('play', (event) => shared.take(event.target), true);
  return shared;
}

const cards = [null, null]; // {buffer, gain, key} of each card
const voices = [null, null]; // {source, level} of each card while playing
let version = null;
let heard = 0;
let playing = false;
let waiting = false; // for more of a sound that is played faster than it grows
let position = 0; // seconds, while paused
let told = 0; // seconds up to which the tab knows what was heard
let origin = 0; // time of the audio context at which the position is 0, while playing

const given = () => props.value || { version: null, cards: [null, null] };
const length = () => Math.max(0, ...cards.map((card) => card?.buffer.duration ?? 0));
const now = () => (playing ? Math.max(0, page.context.currentTime - origin) : position);
const gain = (i) => (i !== heard ? 0 : match.checked ? cards[i].gain : 1);

const clock = (seconds) => {
  const tenths = Math.round(10 * seconds);
  return `${Math.floor(tenths / 600)}:${((tenths % 600) / 10).toFixed(1).padStart(4, '0')}`;
};

const fadeOut = (i) => {
  if (!voices[i]) return;
  const { source, level } = voices[i];
  const when = page.context.currentTime + AHEAD;
  level.gain.setTargetAtTime(0, when, FADE);
  source.stop(when + 8 * FADE);
  voices[i] = null;
};

// Begin a card's sound at the position of the transport, in place of the shorter sound it may have.
const begin = (i) => {
  fadeOut(i);
  const when = page.context.currentTime + AHEAD;
  if (!cards[i] || when - origin >= cards[i].buffer.duration) return;
  const source = new AudioBufferSourceNode(page.context, { buffer: cards[i].buffer });
  const level = new GainNode(page.context, { gain: 0 });
  source.connect(level).connect(page.context.destination);
  level.gain.setTargetAtTime(gain(i), when, FADE);
  source.start(when, when - origin);
  voices[i] = { source, level };
};

const mix = () => {
  voices.forEach((voice, i) => voice?.level.gain.setTargetAtTime(gain(i), page.context.currentTime, FADE));
};

// What counts how long each card was heard listens to the tab for this.
const tell = () => {
  const to = Math.min(now(), cards[heard]?.buffer.duration ?? 0);
  if (to <= told) return;
  tab.dispatchEvent(new CustomEvent('heard', { detail: { card: heard, from: told, to } }));
  told = to;
};

const pause = () => {
  waiting = false;
  if (!playing) return draw();
  position = Math.min(now(), cards[heard]?.buffer.duration ?? 0);
  playing = false;
  [0, 1].forEach(fadeOut);
  draw();
};
const self = { pause };

const seek = (seconds) => {
  position = told = Math.min(Math.max(0, seconds), length());
  if (playing) {
    origin = page.context.currentTime + AHEAD - position;
    [0, 1].forEach(begin);
  }
  draw();
};

const play = async () => {
  if (!cards[heard]) return;
  page.take(self);
  page.context ??= new AudioContext(); // browsers allow it only after a press
  await page.context.resume();
  if (page.owner !== self) return; // another sound began in the meantime
  const start = position < cards[heard].buffer.duration - 0.02 ? position : 0;
  playing = true;
  seek(start);
  follow();
};

const toggle = () => (playing || waiting ? pause() : play());
const isGrowing = (i) => Boolean(given().cards[i]?.pcm);

const choose = (i) => {
  if (choices[i].disabled) return;
  if (playing) tell();
  heard = i;
  choices[i].checked = true;
  if (playing) mix();
  draw();
};

const follow = () => {
  if (!playing) return;
  tell();
  if (!root.isConnected || now() >= (cards[heard]?.buffer.duration ?? 0)) {
    pause();
    waiting = root.isConnected && isGrowing(heard);
  }
  draw();
  requestAnimationFrame(follow);
};

const set = (node, name, value) => {
  if (node.getAttribute(name) !== value) node.setAttribute(name, value);
};

const draw = () => {
  const seconds = now();
  const growing = isGrowing(0) || isGrowing(1);
  slider.max = length() || 1;
  slider.value = seconds;
  const label = `${clock(seconds)} / ${clock(length())}${growing ? ' so far' : ''}`;
  if (time.textContent !== label) time.textContent = label;
  set(slider, 'aria-valuetext', label);
  set(button, 'aria-label', playing || waiting ? 'Pause' : 'Play');
  set(icon, 'd', playing || waiting ? ICONS.Pause : ICONS.Play);
  button.disabled = !cards[heard];
  root.classList.toggle('playing', playing);
  // The style sheet draws the playheads from these, so views may be replaced at any time.
  const shown = calm.matches && playing ? Math.floor(2 * seconds) / 2 : seconds;
  tab.style.setProperty('--position', shown.toFixed(3));
  if (root.hidden) delete tab.dataset.heard;
  else tab.dataset.heard = 'ab'[heard];
};

const bufferOf = async (card) => {
  if (card.file) {
    const bytes = await (await fetch(card.file.url)).arrayBuffer();
    return new OfflineAudioContext(1, 1, 48000).decodeAudioData(bytes);
  }
  const bytes = Uint8Array.from(atob(card.pcm), (character) => character.charCodeAt(0));
  const samples = Float32Array.from(new Int16Array(bytes.buffer), (sample) => sample / 32768);
  const buffer = new AudioBuffer({ length: samples.length, sampleRate: card.rate });
  buffer.copyToChannel(samples, 0);
  return buffer;
};

// Play the rest of a sound that has grown enough, or is finished.
const goOn = () => {
  const left = cards[heard].buffer.duration - position;
  if (left < (isGrowing(heard) ? ENOUGH : 0.02)) waiting = isGrowing(heard);
  else {
    waiting = false;
    play();
  }
};

const keyOf = (card) => card && (card.file?.url ?? card.pcm.length);

const load = async (card, i) => {
  const key = keyOf(card);
  if (!card) {
    cards[i] = null;
    fadeOut(i);
  } else if (cards[i]?.key === key) {
    cards[i].gain = card.gain;
  } else {
    const run = version;
    const buffer = await bufferOf(card);
    if (run !== version || keyOf(given().cards[i]) !== key) return; // there is a newer one
    cards[i] = { key, buffer, gain: card.gain };
    if (playing) begin(i);
    if (waiting && i === heard) goOn();
  }
  if (playing) mix();
  draw();
};

const update = () => {
  const value = given();
  if (value.version !== version) {
    pause();
    position = 0;
    cards.fill(null);
    version = value.version;
  }
  root.hidden = !value.cards.some(Boolean);
  choices.forEach((choice, i) => {
    const name = value.cards[i]?.name ?? `${labels[i]}: no sound`;
    choice.disabled = !value.cards[i];
    set(choice, 'aria-label', name);
    set(choice.parentElement, 'title', name);
  });
  if (choices[heard].disabled && !choices[1 - heard].disabled) choose(1 - heard);
  const both = value.cards.every(Boolean);
  match.parentElement.hidden = !both;
  if (both) {
    const [a, b] = value.cards.map((card) => (20 * Math.log10(card.gain)).toFixed(1).replace('-', '\u2212'));
    match.parentElement.title = `${labels[0]} ${a} dB, ${labels[1]} ${b} dB: both as loud as the quieter one`;
  }
  value.cards.forEach(load);
  draw();
};

button.addEventListener('click', toggle);
slider.addEventListener('input', () => seek(Number(slider.value)));
match.addEventListener('change', () => playing && mix());
choices.forEach((choice, i) => choice.addEventListener('change', () => choose(i)));
root.addEventListener('keydown', (event) => {
  const i = { a: 0, 1: 0, b: 1, 2: 1 }[event.key.toLowerCase()];
  if (i !== undefined && !event.ctrlKey && !event.metaKey && !event.altKey) choose(i);
});

document.addEventListener('keydown', (event) => {
  if (!root.isConnected) return life.abort();
  if (event.key !== ' ' || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (event.target.closest(SPACE_IS_TAKEN) || root.hidden || !root.checkVisibility()) return;
  event.preventDefault(); // the page would scroll
  if (!event.repeat) toggle();
}, { signal: life.signal });

// Views come and go while models write, so the tab listens for all of them.
tab.addEventListener('click', (event) => {
  const view = event.target.closest('.view[data-card]');
  const timeline = event.target.closest('.timeline');
  const i = ['a', 'b'].indexOf(view?.dataset.card);
  if (!timeline || i < 0 || root.hidden || choices[i].disabled) return;
  choose(i);
  const { left, width } = timeline.getBoundingClientRect();
  seek(((event.clientX - left) / width) * Number(timeline.style.getPropertyValue('--seconds')));
}, { signal: life.signal });

watch('value', update);
update();
