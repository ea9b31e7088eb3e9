// The list of conversations: choose, search, rename, delete, export, import.
import {$, announce, ask, h, iconButton, saveFile} from './dom.js';
import {deleteConversation, exportAll, importAll, listConversations, loadConversation, saveConversation} from './store.js';

const GROUPS = [['Today', 1], ['Last 7 days', 7], ['Last 30 days', 30], ['Older', Infinity]];

function groupOf(time) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  return GROUPS.find(([, days]) => time >= midnight - (days - 1) * 86400000)[0];
}

export class Sidebar {
  // onselect(id), ondeleted(id), onrenamed(id, title), onproblem(text)
  constructor(handlers) {
    this.handlers = handlers;
    $('search').addEventListener('input', () => this.show(this.current));
    $('open-sidebar').addEventListener('click', () => this.open());
    for (const id of ['close-sidebar', 'backdrop']) $(id).addEventListener('click', () => this.close());
    $('sidebar').addEventListener('keydown', (event) => {
      if (event.key !== 'Escape' || !this.isOpen) return;
      event.stopPropagation();
      this.close();
    });
    $('export').addEventListener('click', () => this.#export());
    $('import').addEventListener('click', () => $('import-file').click());
    $('import-file').addEventListener('change', () => this.#import());
    matchMedia('(max-width: 820px)').addEventListener('change', () => this.close(false));
    this.close(false);
  }

  get isOpen() {
    return $('sidebar').classList.contains('open');
  }

  open() {
    $('sidebar').classList.add('open');
    $('sidebar').inert = false;
    $('backdrop').hidden = false;
    $('open-sidebar').setAttribute('aria-expanded', 'true');
    $('new-chat').focus();
  }

  // On a phone the list lies beside the screen, and nothing in it can have the focus.
  close(focus = true) {
    const wasOpen = this.isOpen;
    $('sidebar').classList.remove('open');
    $('sidebar').inert = matchMedia('(max-width: 820px)').matches;
    $('backdrop').hidden = true;
    $('open-sidebar').setAttribute('aria-expanded', 'false');
    if (focus && wasOpen) $('open-sidebar').focus();
  }

  show(current) {
    this.current = current;
    const words = $('search').value.trim().toLowerCase();
    const found = listConversations().filter((c) => !words || this.#matches(c, words));
    const items = [];
    let group = '';
    for (const conversation of found) {
      const name = groupOf(conversation.updated);
      if (name !== group) items.push(h('li', {class: 'group-name'}, name));
      group = name;
      items.push(this.#item(conversation));
    }
    if (found.length === 0) items.push(h('li', {class: 'empty'}, words ? 'Nothing found' : 'No chats yet'));
    $('conversations').replaceChildren(...items);
  }

  #matches(conversation, words) {
    if (conversation.title.toLowerCase().includes(words)) return true;
    return loadConversation(conversation.id)?.messages.some((m) => m.content.toLowerCase().includes(words)) ?? false;
  }

  #item({id, title}) {
    const name = title || 'Untitled';
    return h('li', {class: id === this.current ? 'current' : null},
      h('button', {
        type: 'button', class: 'open', title: name, 'aria-current': id === this.current ? 'true' : null,
        onclick: () => {
          this.handlers.onselect(id);
          this.close(false);
        },
      }, name),
      iconButton('pencil', `Rename ${name}`, () => this.#rename(id, title)),
      iconButton('trash', `Delete ${name}`, () => this.#delete(id, name)));
  }

  async #rename(id, title) {
    const name = await ask({title: 'Rename this chat', ok: 'Rename', value: title});
    const conversation = name && loadConversation(id);
    if (!conversation) return;
    this.#try(() => saveConversation({...conversation, title: name}));
    this.handlers.onrenamed(id, name);
    this.show(this.current);
  }

  async #delete(id, name) {
    if (!await ask({title: 'Delete this chat?', text: `“${name}” will be gone for good.`, ok: 'Delete', danger: true})) return;
    this.#try(() => deleteConversation(id));
    announce('Deleted');
    this.handlers.ondeleted(id);
    this.show(this.current);
    $('new-chat').focus();
  }

  #export() {
    if (listConversations().length === 0) return this.handlers.onproblem('There are no chats to export yet.');
    saveFile(`dsv4-chats-${new Date().toISOString().slice(0, 10)}.json`, exportAll());
  }

  async #import() {
    const [file] = $('import-file').files;
    if (!file) return;
    const json = await file.text();
    $('import-file').value = '';
    const n = this.#try(() => importAll(json));
    this.show(this.current);
    if (n !== undefined) announce(n === 1 ? 'One chat was imported' : `${n} chats were imported`);
  }

  #try(action) {
    try {
      return action();
    } catch (error) {
      this.handlers.onproblem(error.message);
      return undefined;
    }
  }
}
