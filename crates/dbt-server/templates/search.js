// Shows, while somebody types, the tools that have all of the words. Without it the form asks the server.
'use strict';
(() => {
  const field = document.getElementById('q');
  const tools = Array.from(document.getElementById('tools').children);
  const count = document.getElementById('count');
  const show = () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const tool of tools) {
      tool.hidden = !words.every((word) => tool.dataset.words.includes(word));
      if (!tool.hidden) shown += 1;
    }
    count.textContent = `${shown} of ${tools.length} tools`;
    const query = field.value ? `?q=${encodeURIComponent(field.value)}` : '';
    history.replaceState(null, '', location.pathname + query);
  };
  field.addEventListener('input', show);
})();
