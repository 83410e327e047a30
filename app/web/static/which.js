// The vote on a pair: opens once both sides were heard or read for long enough, and says what is missing until then.
//
// `props.value` is what trial.py's `Pair.ballot` returns; empty while there is no pair.

const LOOK = 200; // milliseconds between two looks at what can be read
const root = element.querySelector('.ballot');
const tab = root.closest('#which-tab');
const [told, left] = root.querySelectorAll('span');
const buttons = [...root.querySelectorAll('button')];
let pair = null;
let tries = 0;
let sent = false;
let spent = [0, 0]; // seconds of each side
let timer = null;

const isOpen = () => Boolean(props.value);
const missing = () => [0, 1].filter((side) => spent[side] < props.value.needs[side]);

const draw = () => {
  root.hidden = !isOpen();
  if (root.hidden) return;
  const { heard, needs } = props.value;
  const sides = missing();
  const names = sides.map((side) => side + 1).join(' and ');
  const seconds = sides.map((side) => needs[side] - spent[side]);
  const message = !sides.length ? 'Which one is better?'
    : heard ? `Before you vote, listen to what is new in ${names}.` : `Before you vote, read ${names}.`;
  const rest = heard ? seconds.map((one) => `${(Math.ceil(10 * one) / 10).toFixed(1)} s`).join(' and ')
    : `${Math.ceil(seconds.reduce((sum, one) => sum + one, 0))} s`;
  if (told.textContent !== message) told.textContent = message;
  left.textContent = sides.length ? `(${rest} left)` : '';
  buttons.forEach((button) => { button.disabled = sent || sides.length > 0; });
};

// A view can be read if half of it, or half of the window, shows it.
const isVisible = (view) => {
  const { top, bottom } = view.getBoundingClientRect();
  const shown = Math.min(bottom, innerHeight) - Math.max(top, 0);
  return !document.hidden && view.checkVisibility() && shown >= Math.min(bottom - top, innerHeight) / 2;
};

// Who sees both reads them one after another.
const look = () => {
  if (!root.isConnected || !isOpen() || !missing().length) return clearInterval(timer);
  const sides = [...tab.querySelectorAll('.view')].map(isVisible).flatMap((shown, side) => (shown ? [side] : []));
  sides.forEach((side) => { spent[side] += LOOK / 1000 / sides.length; });
  draw();
};

const update = () => {
  if (isOpen() && props.value.pair !== pair) {
    pair = props.value.pair;
    spent = [0, 0];
    sent = false;
    clearInterval(timer);
    if (!props.value.heard) timer = setInterval(look, LOOK);
    const cards = tab.querySelector('.cards');
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    if (cards.getBoundingClientRect().top < 0) cards.scrollIntoView({ behavior: calm ? 'auto' : 'smooth' });
  }
  if (props.value && props.value.tries !== tries) sent = false; // the vote could not be kept
  tries = props.value?.tries ?? 0;
  draw();
  if (!sent || !root.hidden) return;
  sent = false;
  const { activeElement } = document;  // the button that was pressed is disabled, so nothing may have the focus
  if (activeElement === document.body || root.contains(activeElement)) {
    tab.querySelector('.generate').focus({ preventScroll: true });
  }
};

// The transport tells of every part of a sound that was heard.
tab.addEventListener('heard', ({ detail: { card, from, to } }) => {
  if (!isOpen() || !props.value.heard) return;
  spent[card] += Math.max(0, to - Math.max(from, props.value.starts[card]));
  draw();
});

root.addEventListener('click', ({ target }) => {
  const { side } = target.dataset;
  if (side === undefined) return;
  sent = true;
  draw();
  trigger('select', { value: { pair, side: Number(side), seconds: spent } });
});

watch('value', update);
update();
