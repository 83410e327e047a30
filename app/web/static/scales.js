// The scalogram of a text: the character under the pointer is coloured in the text. Sounds have the transport for that.
const tab = element.closest('.tabitem') ?? document.body;

element.addEventListener('pointermove', (event) => {
  const timeline = event.target.closest('.timeline');
  const view = event.target.closest('.view[data-card]');
  const text = view && tab.querySelector(`.result .view[data-card=${view.dataset.card}] .sheet > div`);
  if (!timeline || !text) return;
  const { left, width } = timeline.getBoundingClientRect();
  const part = Math.min(Math.max(0, (event.clientX - left) / width), 0.9999);
  const index = Math.floor(part * Number(timeline.style.getPropertyValue('--seconds')));
  window.waveletgptColour('scaled', text, index);
});
element.addEventListener('pointerleave', () => CSS.highlights?.delete('scaled'));
