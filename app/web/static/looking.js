// Looking closer: a click on a marked result shows what else might have been written there.
//
// gr.HTML runs this file as the body of a function of `element`, `trigger` and `watch`. Its value is the table of
// alternatives that looking.py makes, whose buttons name a card, a new token and, to go on from there, an id.

const tab = element.closest('.tabitem') ?? document.body;
const life = new AbortController(); // ends the listener outside of `element`
let pressed = ''; // which button is to have the focus once the table is there again

const ask = (event, { card, token, id, seconds }) => {
  const whole = (text) => (text === undefined ? undefined : Number(text));
  trigger(event, { value: { card: Number(card), token: whole(token), id: whole(id), seconds } });
};

element.addEventListener('click', ({ target }) => {
  const button = target.closest('button[data-token]');
  if (!button) return;
  pressed = button.dataset.role ?? '';
  ask(button.dataset.id ? 'submit' : 'select', button.dataset);
});

// The index, among the characters that were written, of the one under the pointer; -1 if there is none.
const characterAt = (written, { clientX, clientY }) => {
  const place = document.caretPositionFromPoint?.(clientX, clientY);
  const range = place ? null : document.caretRangeFromPoint?.(clientX, clientY);
  const node = place?.offsetNode ?? range?.startContainer;
  if (!node || !written.contains(node)) return -1;
  const before = document.createRange();
  before.setStart(written, 0);
  before.setEnd(node, place?.offset ?? range.startOffset);
  const index = [...before.toString()].length;
  const { right } = before.getClientRects().length ? [...before.getClientRects()].at(-1) : { right: 0 };
  return right > clientX && index ? index - 1 : index; // the caret stands after the right half of a character
};

tab.addEventListener('click', (event) => {
  if (!element.isConnected) return life.abort();
  const view = event.target.closest('.view.tinted');
  if (!view) return;
  const card = ['a', 'b'].indexOf(view.dataset.card);
  const written = event.target.closest('.sheet .new');
  const timeline = event.target.closest('.timeline');
  const { token } = event.target.dataset;
  if (token !== undefined) return ask('select', { card, token });
  if (written) {
    const index = characterAt(written, event);
    if (index >= 0) ask('select', { card, token: index });
  } else if (timeline) {
    const { left, width } = timeline.getBoundingClientRect();
    const part = (event.clientX - left) / width;
    ask('select', { card, seconds: part * Number(timeline.style.getPropertyValue('--seconds')) });
  }
}, { signal: life.signal });

watch('value', () => requestAnimationFrame(() => {
  const shown = element.querySelector('.alternatives[data-token]');
  tab.querySelectorAll('.looked').forEach((one) => one.classList.remove('looked'));
  if (shown) {
    const { card, token } = shown.dataset;
    const written = tab.querySelector(`.view[data-card=${'ab'[card]}] .sheet .new`);
    window.waveletgptColour('looked', written, Number(token));
    tab.querySelector(`.view[data-card=${'ab'[card]}] [data-token="${token}"]`)?.classList.add('looked');
  } else CSS.highlights?.delete('looked');
  if (pressed) element.querySelector(`[data-role=${pressed}]`)?.focus();
  pressed = '';
}));
