// Markdown as models write it, to DOM nodes. Model text is hostile: it only ever becomes text
// nodes, and a link only with http, https or mailto. Formulas and HTML stay text as they are.
import {copyButton, h} from './dom.js';

const FENCE = /^( {0,3})(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*?)\s*#*\s*$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])(?:\s+(.*)|\s*)$/;
const QUOTE = /^ {0,3}>\s?(.*)$/;
const TABLE_RULE = /^\s*\|?\s*:?-+:?\s*(\|\s*:?-+:?\s*)*\|?\s*$/;
const MAX_DEPTH = 8;  // of lists and quotes in each other; deeper ones are text

const indentOf = (line) => line.length - line.trimStart().length;
const isBlank = (line) => line.trim() === '';

function startsBlock(line) {
  return FENCE.test(line) || HEADING.test(line) || RULE.test(line) || QUOTE.test(line) || ITEM.test(line);
}

// Each block takes lines from `at` on and says where it ends.
function readFence(lines, at, [, indent, mark, info]) {
  let end = at + 1;
  const closes = (line) => {
    const text = line.trim();
    return text.length >= mark.length && text === mark[0].repeat(text.length) && indentOf(line) < 4;
  };
  while (end < lines.length && !closes(lines[end])) ++end;
  const code = lines.slice(at + 1, end).map((l) => l.slice(Math.min(indent.length, indentOf(l))));
  return {kind: 'code', code: code.join('\n'), info: info.trim().split(/\s+/)[0], end: end + 1};
}

function readList(lines, at) {
  const [, indent, mark] = ITEM.exec(lines[at]);
  const ordered = /\d/.test(mark);
  const items = [];
  let end = at;
  while (end < lines.length) {
    const match = ITEM.exec(lines[end]);
    const same = match && Math.abs(match[1].length - indent.length) < 2 && /\d/.test(match[2]) === ordered;
    if (same && !RULE.test(lines[end])) {
      items.push([match[3] ?? '']);
      ++end;
    } else if (isBlank(lines[end])) {
      // A blank line stays in the list if an item or an indented line follows.
      let next = end;
      while (next < lines.length && isBlank(lines[next])) ++next;
      if (next >= lines.length || !(ITEM.test(lines[next]) || indentOf(lines[next]) > indent.length + 1)) break;
      items.at(-1).push('');
      end = next;
    } else if (indentOf(lines[end]) > indent.length || !startsBlock(lines[end])) {
      items.at(-1).push(lines[end].slice(Math.min(indentOf(lines[end]), indent.length + mark.length + 1)));
      ++end;
    } else {
      break;
    }
  }
  return {kind: 'list', ordered, start: ordered ? parseInt(mark, 10) : 1, items, end};
}

const cellsOf = (line) => line.trim().replace(/^\||\|$/g, '').split(/(?<!\\)\|/).map((c) => c.trim().replace(/\\\|/g, '|'));

function readTable(lines, at) {
  let end = at + 2;
  while (end < lines.length && lines[end].includes('|') && !isBlank(lines[end])) ++end;
  const align = cellsOf(lines[at + 1]).map((c) => c.startsWith(':') && c.endsWith(':') ? 'center' : c.endsWith(':') ? 'end' : 'start');
  return {kind: 'table', head: cellsOf(lines[at]), align, rows: lines.slice(at + 2, end).map(cellsOf), end};
}

function readQuote(lines, at) {
  let end = at;
  while (end < lines.length && (QUOTE.test(lines[end]) || (!isBlank(lines[end]) && !startsBlock(lines[end])))) ++end;
  return {kind: 'quote', lines: lines.slice(at, end).map((l) => QUOTE.exec(l)?.[1] ?? l), end};
}

function readBlock(lines, at, depth) {
  const line = lines[at];
  let match;
  if ((match = FENCE.exec(line))) return readFence(lines, at, match);
  if ((match = HEADING.exec(line))) return {kind: 'heading', level: match[1].length, text: match[2], end: at + 1};
  if (RULE.test(line)) return {kind: 'rule', end: at + 1};
  if (depth < MAX_DEPTH && QUOTE.test(line)) return readQuote(lines, at);
  if (depth < MAX_DEPTH && ITEM.test(line)) return readList(lines, at);
  if (line.includes('|') && at + 1 < lines.length && lines[at + 1].includes('-') && TABLE_RULE.test(lines[at + 1])) {
    return readTable(lines, at);
  }
  let end = at + 1;
  while (end < lines.length && !isBlank(lines[end]) && !startsBlock(lines[end])) ++end;
  return {kind: 'paragraph', text: lines.slice(at, end).join('\n'), end};
}

function blocksOf(lines, depth) {
  const blocks = [];
  for (let at = 0; at < lines.length;) {
    if (isBlank(lines[at])) {
      ++at;
      continue;
    }
    const block = readBlock(lines, at, depth);
    block.source = lines.slice(at, block.end).join('\n');
    blocks.push(block);
    at = block.end;
  }
  return blocks;
}

// The address if it is one that may be opened, otherwise null.
export function safeAddress(text) {
  try {
    const url = new URL(text);
    return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
  } catch {
    return null;
  }
}

function link(address, children) {
  const href = safeAddress(address);
  return href === null ? null : h('a', {href, rel: 'noopener noreferrer', target: '_blank'}, ...children);
}

// Spans in the order in which they are tried at a place of the text. Every pattern is anchored and
// bounded, so that the time stays linear.
const SPANS = [
  [/^(`{1,8})(?!`)([\s\S]{1,2000}?[^`])\1(?!`)/, (m) => h('code', {}, m[2].replace(/^ (.*) $/, '$1'))],
  [/^\\([!-/:-@[-`{-~])/, (m) => document.createTextNode(/[()[\]]/.test(m[1]) ? m[0] : m[1])],
  [/^\*\*(?=\S)([\s\S]{1,1000}?\S)\*\*(?!\*)/, (m, depth) => h('strong', {}, ...inline(m[1], depth))],
  [/^__(?=\S)([\s\S]{1,1000}?\S)__(?!\w)/, (m, depth) => h('strong', {}, ...inline(m[1], depth)), true],
  [/^~~(?=\S)([\s\S]{1,1000}?\S)~~/, (m, depth) => h('s', {}, ...inline(m[1], depth))],
  [/^\*(?=[^\s*])([^*\n]{0,500}[^\s*])\*(?!\*)/, (m, depth) => h('em', {}, ...inline(m[1], depth))],
  [/^_(?=[^\s_])([^_\n]{0,500}[^\s_])_(?!\w)/, (m, depth) => h('em', {}, ...inline(m[1], depth)), true],
  [/^!?\[([^\]\n]{1,500})\]\(\s*<?([^\s()<>]{1,2000}(?:\([^\s()<>]{0,500}\)[^\s()<>]{0,500})?)>?(?:\s+"[^"\n]{0,500}")?\s*\)/,
   (m, depth) => link(m[2], inline(m[1], depth))],
  [/^<(https?:\/\/[^\s<>]{1,2000})>/, (m) => link(m[1], [m[1]])],
  [/^https?:\/\/[^\s<>"'`]{1,2000}/, (m) => {
    m[0] = m[0].replace(/[.,;:!?*_)\]]+$/, (end) => end.startsWith(')') && m[0].includes('(') ? ')' : '');
    return link(m[0], [m[0]]);
  }, true],
];
const PLACE = /[`\\*_~[!<h]/g;

// Nodes of running text.
function inline(text, depth = 0) {
  if (depth >= MAX_DEPTH) return [text];
  const nodes = [];
  let done = 0;
  const plain = (end) => {
    if (end > done) nodes.push(text.slice(done, end));
  };
  PLACE.lastIndex = 0;
  for (let place; (place = PLACE.exec(text)) !== null;) {
    const at = place.index;
    const rest = text.slice(at, at + 4200);
    let next = at + 1;
    for (const [pattern, make, atWordStart] of SPANS) {
      if (atWordStart && at > 0 && /\w/.test(text[at - 1])) continue;
      const match = pattern.exec(rest);
      const node = match && make(match, depth + 1);
      if (!node) continue;
      plain(at);
      nodes.push(node);
      done = next = at + match[0].length;
      break;
    }
    // A run of marks that opens nothing is text as a whole.
    if (done !== next && '`*_~'.includes(text[at])) {
      while (text[next] === text[at]) ++next;
    }
    PLACE.lastIndex = next;
  }
  plain(text.length);
  return nodes;
}

function codeBlock({code, info}) {
  return h('div', {class: 'code'},
           h('div', {class: 'code-head'}, h('span', {}, info || 'text'), copyButton('Copy the code', () => code)),
           h('pre', {tabindex: '0'}, h('code', {}, code)));
}

function listItem(lines, depth) {
  const blocks = blocksOf(lines, depth);
  const task = /^\[([ xX])\]\s+/.exec(lines[0]);
  const item = h('li', {class: task ? 'task' : null});
  blocks.forEach((block, i) => {
    if (i === 0 && block.kind === 'paragraph') {
      if (task) {
        block.text = block.text.slice(task[0].length);
        item.append(h('input', {type: 'checkbox', disabled: true, checked: task[1] !== ' ', 'aria-label': 'done'}));
      }
      item.append(...inline(block.text));
    } else {
      item.append(build(block, depth));
    }
  });
  return item;
}

function table({head, align, rows}) {
  const row = (cells, tag) => h('tr', {}, ...head.map((_, i) =>
    h(tag, {class: align[i] === 'start' ? null : `align-${align[i]}`}, ...inline(cells[i] ?? ''))));
  return h('div', {class: 'table', tabindex: '0', role: 'group', 'aria-label': 'Table'},
           h('table', {}, h('thead', {}, row(head, 'th')), h('tbody', {}, ...rows.map((cells) => row(cells, 'td')))));
}

function build(block, depth) {
  switch (block.kind) {
    case 'code':
      return codeBlock(block);
    case 'heading':
      return h(`h${Math.min(block.level + 2, 6)}`, {class: `level-${block.level}`}, ...inline(block.text));
    case 'rule':
      return h('hr');
    case 'quote':
      return h('blockquote', {}, ...blocksOf(block.lines, depth + 1).map((b) => build(b, depth + 1)));
    case 'list':
      return h(block.ordered ? 'ol' : 'ul', block.ordered && block.start !== 1 ? {start: block.start} : {},
               ...block.items.map((item) => listItem(item, depth + 1)));
    case 'table':
      return table(block);
    default:
      return h('p', {}, ...inline(block.text));
  }
}

// Shows `text` in `element`. Blocks that are as they were in the last call keep their nodes, so
// that a growing text costs its last block, and what is selected in the others stays selected.
export function renderMarkdown(element, text) {
  const blocks = blocksOf(text.replace(/\r\n?/g, '\n').split('\n'), 0);
  const old = element.blocks ?? [];
  let same = 0;
  while (same < blocks.length && same < old.length && blocks[same].source === old[same]) ++same;
  while (element.childNodes.length > same) element.lastChild.remove();
  for (const block of blocks.slice(same)) element.append(build(block, 0));
  element.blocks = blocks.map((block) => block.source);
}
