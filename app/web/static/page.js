// Ctrl+Enter generates in the visible tab. On a small screen a press scrolls to the results. Copy copies a text. A file
// that is dropped anywhere but on a prompt is opened as a result.
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

document.addEventListener('click', async (event) => {
  const button = event.target.closest('.copy-text');
  const text = button?.closest('.result, .command').querySelector('.sheet > div, code');
  if (!text) return;
  await navigator.clipboard.writeText(text.textContent);
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = 'Copy'; }, 1500);
});

const HOMES = { json: ['text'], mid: ['music'], wav: ['audio', 'music'] };
const takesFiles = (event) => event.dataTransfer?.types.includes('Files') && !event.target.closest('.bar');

const opener = (tab) => document.querySelector(`#${tab}-tab .open-result`)?.parentElement.querySelector('input[type=file]');

document.addEventListener('dragover', (event) => { if (takesFiles(event)) event.preventDefault(); });

document.addEventListener('drop', async (event) => {
  if (!takesFiles(event)) return;
  event.preventDefault();
  const files = event.dataTransfer.files;
  const homes = HOMES[files[0]?.name.split('.').pop().toLowerCase()] || [];
  if (!homes.length) return;
  const tab = homes.find((one) => document.getElementById(`${one}-tab`)?.offsetParent) || homes[0];
  [...document.querySelectorAll('[role=tab]')].find((one) => one.textContent.trim().toLowerCase() === tab)?.click();
  for (let i = 0; i < 50 && !opener(tab); i++) await new Promise((done) => { setTimeout(done, 100); });
  const input = opener(tab);
  if (!input) return;
  input.files = files;
  input.dispatchEvent(new Event('change', { bubbles: true }));
});

// Colours one character of a text, where the browser can: the one at `index` of all that stands in `root`.
window.waveletgptColour = (name, root, index) => {
  CSS.highlights?.delete(name);
  if (!window.Highlight || !root) return;
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT);
  for (let left = index, node = walker.nextNode(); node; node = walker.nextNode()) {
    const characters = [...node.data];
    if (left < characters.length) {
      const startOffset = characters.slice(0, left).join('').length;
      const endOffset = startOffset + characters[left].length;
      const range = new StaticRange({ startContainer: node, startOffset, endContainer: node, endOffset });
      CSS.highlights.set(name, new Highlight(range));
      return;
    }
    left -= characters.length;
  }
};
