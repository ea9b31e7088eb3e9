// Building elements, icons and small dialogs. Text only ever becomes text nodes.

const SVG = 'http://www.w3.org/2000/svg';

// Paths on a grid of 24 by 24, drawn with round strokes.
const ICONS = {
  plus: 'M12 5v14M5 12h14',
  close: 'M6 6l12 12M18 6L6 18',
  menu: 'M4 6h16M4 12h16M4 18h10',
  search: 'M11 4a7 7 0 1 0 0 14a7 7 0 1 0 0-14M16.5 16.5L21 21',
  sliders: 'M4 7h9M19 7h1M4 17h1M11 17h9M16 4.5a2.5 2.5 0 1 0 0 5a2.5 2.5 0 1 0 0-5M8 14.5a2.5 2.5 0 1 0 0 5a2.5 2.5 0 1 0 0-5',
  light: 'M12 8a4 4 0 1 0 0 8a4 4 0 1 0 0-8M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6L19 19M5 19l1.4-1.4M17.6 6.4L19 5',
  dark: 'M20 14.5A8.5 8.5 0 1 1 9.5 4a6.6 6.6 0 0 0 10.5 10.5z',
  auto: 'M12 3a9 9 0 1 0 0 18a9 9 0 1 0 0-18M12 3v18M12 8l6-2M12 13h9M12 18l6 0',
  clip: 'M20 11.5l-8.2 8.2a5 5 0 0 1-7.1-7.1l8.5-8.5a3.4 3.4 0 0 1 4.8 4.8l-8.4 8.4a1.7 1.7 0 0 1-2.4-2.4l7.6-7.6',
  bulb: 'M9.5 18h5M10.5 21h3M9 15c0-1.5-3-3-3-6.5a6 6 0 0 1 12 0c0 3.5-3 5-3 6.5z',
  up: 'M12 19V5M6 11l6-6l6 6',
  down: 'M12 5v14M6 13l6 6l6-6',
  square: 'M7 7h10v10H7z',
  copy: 'M9 9h11v11H9zM5 15H4V4h11v1',
  check: 'M5 12.5l4.5 4.5L19 7',
  retry: 'M20 5v5h-5M19.5 10A8 8 0 1 0 20 14',
  pencil: 'M4 20l1-4.5L16 4.5l3.5 3.5L8.5 19z',
  trash: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13',
  upload: 'M12 16V4M7 9l5-5l5 5M4 20h16',
  download: 'M12 4v12M7 11l5 5l5-5M4 20h16',
  tool: 'M14.5 6.5a4 4 0 0 1 5-2l-2.5 2.5l.5 2l2 .5l2.5-2.5a4 4 0 0 1-5.5 4.800L9 19.5a2 2 0 0 1-3-3l7.800-7.5a4 4 0 0 1 .700-2.5z',
  chevron: 'M9 6l6 6l-6 6',
  file: 'M6 3h8l4 4v14H6zM14 3v4h4',
  more: 'M5 12h.01M12 12h.01M19 12h.01',
};

export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('aria-hidden', 'true');
  svg.classList.add('icon-svg');
  const path = document.createElementNS(SVG, 'path');
  path.setAttribute('d', ICONS[name]);
  svg.append(path);
  return svg;
}

// h('button', {class: 'x', onclick: f, 'aria-label': 'y'}, child, 'text', null)
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const $ = (id) => document.getElementById(id);

export function fillIcons(root) {
  for (const element of root.querySelectorAll('[data-icon]')) {
    element.prepend(icon(element.dataset.icon));
  }
}

export function setIcon(element, name) {
  element.querySelector('svg')?.remove();
  element.prepend(icon(name));
}

export function iconButton(name, label, onclick, extra = {}) {
  return h('button', {type: 'button', class: 'icon small', 'aria-label': label, title: label, onclick, ...extra},
           icon(name));
}

// Without the clipboard's API (pages that are neither HTTPS nor local), through a selection.
async function writeClipboard(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = h('textarea', {class: 'visually-hidden'});
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  if (!done) throw new Error('refused');
}

export function copyButton(label, text) {
  const button = iconButton('copy', label, async () => {
    try {
      await writeClipboard(text());
      setIcon(button, 'check');
      announce('Copied');
    } catch {
      announce('The browser does not allow copying');
      return;
    }
    setTimeout(() => setIcon(button, 'copy'), 1500);
  });
  return button;
}

// Spoken by screen readers, not seen.
export function announce(text) {
  $('status').textContent = text;
}

// Resolves to the text (or true without `value`), or null when cancelled.
export function ask({title, text = '', ok = 'OK', value = null, danger = false}) {
  const dialog = $('ask');
  $('ask-title').textContent = title;
  $('ask-text').textContent = text;
  $('ask-text').hidden = !text;
  $('ask-field').hidden = value === null;
  $('ask-input').value = value ?? '';
  $('ask-ok').textContent = ok;
  $('ask-ok').classList.toggle('danger', danger);
  dialog.returnValue = 'cancel';
  dialog.showModal();
  if (value !== null) $('ask-input').select();
  else $('ask-ok').focus();
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      if (dialog.returnValue !== 'ok') resolve(null);
      else resolve(value === null ? true : $('ask-input').value.trim());
    }, {once: true});
  });
}

export function saveFile(name, text) {
  const url = URL.createObjectURL(new Blob([text], {type: 'application/json'}));
  h('a', {href: url, download: name}).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
