// Ctrl+Enter generates in the visible tab; on a small screen a press scrolls to the results.
const visible = (selector) => [...document.querySelectorAll(selector)].find((one) => one.offsetParent !== null);

document.addEventListener('keydown', (event) => {
  if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
  const button = visible('.generate');
  if (button) { event.preventDefault(); button.click(); }
});

document.addEventListener('click', (event) => {
  if (!event.target.closest('.generate, .dice, .examples button, .history button')) return;
  if (event.target.closest('.examples')) return;
  const cards = visible('.cards');
  if (cards && cards.getBoundingClientRect().top > window.innerHeight * 0.8) {
    const calm = matchMedia('(prefers-reduced-motion: reduce)').matches;
    cards.scrollIntoView({ behavior: calm ? 'auto' : 'smooth' });
  }
});
