(() => {
  'use strict';
  const root = document.documentElement;
  const wish = matchMedia('(prefers-color-scheme: dark)');
  let chosen = false;
  const button = document.createElement('button');
  button.id = 'theme';
  button.type = 'button';
  const use = (theme) => {
    root.dataset.theme = theme;
    button.textContent = theme === 'dark' ? 'Light' : 'Dark';
    document.dispatchEvent(new Event('theme'));
  };
  use(wish.matches ? 'dark' : 'light');
  wish.addEventListener('change', () => chosen || use(wish.matches ? 'dark' : 'light'));
  button.addEventListener('click', () => {
    chosen = true;
    use(root.dataset.theme === 'dark' ? 'light' : 'dark');
  });
  document.body.append(button);
})();
