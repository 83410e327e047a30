// Takes the first look away once the text tab shows its own, and at once where the address asks for something else.
{
  const first = document.getElementById('first');
  const watch = new MutationObserver(() => {
    if (!document.querySelector('#text-a .sheet')) return;
    watch.disconnect();
    first.remove();
  });
  if (new URLSearchParams(location.search).has('recipe')) first.remove();
  else watch.observe(document.body, { childList: true, subtree: true });
}
