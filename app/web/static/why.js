// The slider: shows the marks and the sentence of its position, which why.py has put into a hidden element.
element.addEventListener('input', ({ target }) => {
  const { dataset, children: [marks, answer] } = element.querySelectorAll('.stop')[target.value];
  element.querySelector('.marks').innerHTML = marks.innerHTML;
  element.querySelector('.answer').innerHTML = answer.innerHTML;
  target.setAttribute('aria-valuetext', dataset.goal);
});

// A link of the overview: shows that report.
element.addEventListener('click', ({ target }) => {
  const link = target.closest('[data-report]');
  if (link) trigger('select', { value: link.dataset.report });
});
