// The address names what the visible tab shows, so that a link opens the page with that result.
const button = element.querySelector('.copy-link');

const link = () => {
  const url = new URL(location.href);
  url.hash = '';
  if (props.value) url.searchParams.set('recipe', props.value);
  else url.searchParams.delete('recipe');
  return url.toString();
};

watch('value', () => {
  button.disabled = !props.value;
  button.title = props.value ? '' : 'A result of a recording is too long for a link: save the file, which holds it all';
  if (element.offsetParent !== null) history.replaceState(history.state, '', link());
});

button.addEventListener('click', async () => {
  await navigator.clipboard.writeText(link());
  button.textContent = 'Copied';
  setTimeout(() => { button.textContent = 'Copy link'; }, 1500);
});
