// Messages as elements. Handlers come from page.js: {edit, retry, sendResults}.
import {copyButton, h, icon, iconButton} from './dom.js';
import {renderMarkdown} from './markdown.js';

const FINISH = {
  stopped: 'Stopped',
  length: 'Cut off: the limit on its length was reached',
  content_filter: 'Cut off by the server’s filter',
};

const seconds = (s) => s < 9.95 ? `${s.toFixed(s < 0.995 ? 2 : 1)} s` : s < 100 ? `${s.toFixed(0)} s` : `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
const count = (n) => n.toLocaleString('en');
export const sizeText = (bytes) => bytes < 1024 ? `${bytes} B` : bytes < 1048576 ? `${(bytes / 1024).toFixed(bytes < 10240 ? 1 : 0)} KB` : `${(bytes / 1048576).toFixed(1)} MB`;

function pretty(json) {
  try {
    return JSON.stringify(JSON.parse(json), null, 2);
  } catch {
    return json;  // not complete yet, or not JSON
  }
}

function fileChip(file) {
  return h('details', {class: 'file'},
           h('summary', {}, icon('file'), h('span', {class: 'name'}, file.name), h('span', {class: 'size'}, sizeText(file.text.length))),
           h('pre', {tabindex: '0'}, file.text));
}

function userView(message, handlers) {
  const bubble = h('div', {class: 'bubble'}, message.content || null);
  bubble.hidden = !message.content;
  const files = (message.files ?? []).map(fileChip);
  return h('li', {class: 'message user', 'data-id': message.id},
           h('span', {class: 'visually-hidden'}, 'You:'),
           files.length > 0 ? h('div', {class: 'files'}, ...files) : null,
           bubble,
           h('div', {class: 'actions'},
             copyButton('Copy the message', () => message.content),
             iconButton('pencil', 'Edit and send again', () => handlers.edit(message), {'data-needs-idle': true})));
}

// The editor that takes the place of a user's message.
export function editorView(message, {onsend, oncancel}) {
  const area = h('textarea', {'aria-label': 'Edit the message', rows: '3'});
  area.value = message.content;
  const send = () => onsend(area.value.trim());
  area.addEventListener('keydown', (event) => {
    if (event.isComposing) return;
    if (event.key === 'Escape') {
      event.stopPropagation();
      oncancel();
    } else if (event.key === 'Enter' && !event.shiftKey) {
      event.preventDefault();
      send();
    }
  });
  const grow = () => {
    area.style.height = 'auto';
    area.style.height = `${area.scrollHeight + 2}px`;
  };
  area.addEventListener('input', grow);
  const element = h('li', {class: 'message user editing', 'data-id': message.id}, area,
    h('div', {class: 'row'},
      h('small', {}, 'What follows this message is replaced.'),
      h('button', {type: 'button', class: 'plain', onclick: oncancel}, 'Cancel'),
      h('button', {type: 'button', class: 'primary', onclick: send}, 'Send')));
  requestAnimationFrame(() => {
    grow();
    area.focus();
    area.setSelectionRange(area.value.length, area.value.length);
  });
  return element;
}

function toolView(message) {
  return h('li', {class: 'message tool', 'data-id': message.id},
           h('details', {class: 'fold'}, h('summary', {}, icon('chevron'), h('span', {}, 'Result of a tool call')),
             h('pre', {tabindex: '0'}, message.content)));
}

// "12.3 tokens/s", "first after 0.4 s", ...: what is known of a reply.
export function statTexts(stats) {
  const texts = [];
  if (stats.speed !== undefined) texts.push([`${stats.speed.toFixed(stats.speed < 100 ? 1 : 0)} tokens/s`, 'Speed after the first token']);
  if (stats.first !== undefined) texts.push([`first after ${seconds(stats.first)}`, 'From sending to the first token']);
  if (stats.output > 0) texts.push([`${count(stats.output)} out`, 'Tokens of the reply, thinking included']);
  if (stats.prompt !== undefined) {
    const share = stats.prompt > 0 ? Math.floor(100 * stats.cached / stats.prompt) : 0;
    texts.push([`${count(stats.prompt)} in, ${share}% cached`, `${count(stats.cached)} of ${count(stats.prompt)} prompt tokens came from the server’s cache`]);
  }
  return texts;
}

class CallView {
  constructor(call) {
    this.name = h('code', {class: 'name'});
    this.code = h('code');
    this.element = h('div', {class: 'call'},
      h('div', {class: 'call-head'}, icon('tool'), h('span', {}, 'Call of '), this.name, copyButton('Copy the arguments', () => pretty(this.call.arguments))),
      h('pre', {tabindex: '0'}, this.code));
    this.update(call);
  }

  update(call) {
    this.call = call;
    this.name.textContent = call.name;
    this.code.textContent = pretty(call.arguments);
  }
}

// An assistant's reply, also while it grows.
export class ReplyView {
  #calls = [];

  constructor(message, handlers) {
    this.handlers = handlers;
    this.thinkingText = h('div', {class: 'thinking-text'});
    this.thinkingLabel = h('span', {class: 'label'});
    this.thinking = h('details', {class: 'fold thinking'}, h('summary', {}, icon('chevron'), this.thinkingLabel), this.thinkingText);
    this.thinking.addEventListener('toggle', () => {
      if (this.thinking.open) this.#showThinking();
    });
    this.waiting = h('div', {class: 'waiting', 'aria-label': 'Waiting for the first token'}, h('i'), h('i'), h('i'));
    this.text = h('div', {class: 'text'});
    this.calls = h('div', {class: 'calls'});
    this.results = h('div');
    this.note = h('p', {class: 'finish'});
    this.error = h('div', {class: 'error'});
    this.stats = h('p', {class: 'stats'});
    this.actions = h('div', {class: 'actions'},
      copyButton('Copy the reply', () => this.message.content),
      iconButton('retry', 'Try again', () => handlers.retry(this.message), {'data-needs-idle': true}),
      this.stats);
    this.element = h('li', {class: 'message assistant'},
      h('span', {class: 'visually-hidden'}, 'Reply:'),
      this.thinking, this.waiting, this.text, this.calls, this.results, this.note, this.error, this.actions);
    this.update(message, {phase: 'done'});
  }

  // `live` is {phase, elapsed, speed, output}; phase 'done' once the reply has ended.
  update(message, live) {
    this.message = message;
    const running = live.phase !== 'done';
    this.element.dataset.id = message.id;
    this.element.classList.toggle('running', running);
    this.waiting.hidden = live.phase !== 'waiting';
    this.#updateThinking(message, live);
    this.text.hidden = !message.content;
    if (message.content !== this.shown) renderMarkdown(this.text, message.content);
    this.shown = message.content;
    message.calls.forEach((call, i) => {
      if (this.#calls[i]) return this.#calls[i].update(call);
      this.#calls[i] = new CallView(call);
      this.calls.append(this.#calls[i].element);
    });
    this.note.textContent = running ? '' : FINISH[message.finish] ?? '';
    this.note.hidden = !this.note.textContent;
    this.#updateError(running ? null : message.error);
    const stats = running ? {...message.stats, output: live.output || undefined, speed: live.speed} : message.stats;
    this.stats.replaceChildren(...statTexts(stats).map(([text, title]) => h('span', {title}, text)));
  }

  #updateThinking(message, live) {
    const now = live.phase === 'thinking';
    this.thinking.hidden = !message.reasoning;
    this.thinking.classList.toggle('now', now);
    const time = message.stats.thinking;
    this.thinkingLabel.textContent = now ? `Thinking… ${seconds(live.elapsed)}` : !(time >= 0.1) ? 'Thoughts' : `Thought for ${seconds(time)}`;
    if (this.thinking.open) this.#showThinking();
  }

  // Only while it is open: a folded text costs nothing.
  #showThinking() {
    const {reasoning} = this.message;
    if (this.thought === reasoning) return;
    const node = this.thinkingText.firstChild;
    if (node && this.thought !== undefined && reasoning.startsWith(this.thought)) node.appendData(reasoning.slice(this.thought.length));
    else this.thinkingText.replaceChildren(reasoning);
    this.thought = reasoning;
    this.thinkingText.scrollTop = this.thinkingText.scrollHeight;
  }

  #updateError(error) {
    if (error === this.shownError) return;
    this.shownError = error;
    this.error.replaceChildren();
    this.error.hidden = !error;
    if (!error) return;
    const retry = h('button', {type: 'button', class: 'plain', 'data-needs-idle': true, onclick: () => this.handlers.retry(this.message)}, 'Try again');
    this.error.append(h('p', {}, error.text), retry);
    if (error.retryAfter > 0) this.#countDown(retry, error.retryAfter);
  }

  #countDown(button, left) {
    button.textContent = left > 0 ? `Try again in ${left} s` : 'Try again';
    button.toggleAttribute('data-waits', left > 0);
    button.disabled = left > 0;
    if (left > 0 && button.isConnected) setTimeout(() => this.#countDown(button, left - 1), 1000);
  }

  // Fields for the results of the calls, which a person or a program of theirs finds out.
  askForResults(onsend) {
    const fields = this.message.calls.map((call) => {
      const area = h('textarea', {rows: '2', class: 'mono', spellcheck: 'false', placeholder: 'Result, as text or JSON'});
      return {call, area, element: h('label', {class: 'field'}, `Result of ${call.name}`, area)};
    });
    this.results.replaceChildren(h('form', {
      class: 'results',
      onsubmit: (event) => {
        event.preventDefault();
        onsend(fields.map(({call, area}) => ({call: call.id, content: area.value})));
      },
    }, ...fields.map((f) => f.element), h('button', {class: 'primary', 'data-needs-idle': true}, fields.length > 1 ? 'Send the results' : 'Send the result')));
  }
}

export function messageView(message, handlers) {
  if (message.role === 'user') return userView(message, handlers);
  if (message.role === 'tool') return toolView(message);
  return new ReplyView(message, handlers).element;
}
