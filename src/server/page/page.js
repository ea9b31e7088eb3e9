// The chat page: holds the open conversation, sends it, and shows the reply as it comes.
import {ApiError, listModels, streamChat} from './api.js';
import {$, announce, fillIcons, iconButton} from './dom.js';
import {Attachments} from './files.js';
import {buildRequest, Reply} from './reply.js';
import {Settings} from './settings.js';
import {Sidebar} from './sidebar.js';
import {isListKey, loadConversation, newConversation, newId, saveConversation} from './store.js';
import {editorView, messageView, ReplyView} from './view.js';

const SAVE_EVERY_MS = 2000;  // while a reply grows

class Page {
  #conversation = newConversation();
  #running = null;  // {controller, reply, view} of the reply that is being written
  #views = new Map();  // of replies, by message
  #follow = true;  // scroll with the growing reply
  #lastTop = 0;

  constructor() {
    fillIcons(document);
    const onproblem = (text) => this.#showProblem(text);
    this.settings = new Settings({
      onproblem,
      getSystem: () => this.#conversation.system,
      setSystem: (system) => {
        this.#conversation.system = system;
        if (this.#conversation.messages.length > 0) this.#save();
      },
    });
    this.sidebar = new Sidebar({
      onproblem,
      onselect: (id) => this.#open(loadConversation(id)),
      ondeleted: (id) => {
        if (id === this.#conversation.id) this.#open(null);
      },
      onrenamed: (id, title) => {
        if (id !== this.#conversation.id) return;
        this.#conversation.title = title;
        this.#showTitle();
      },
    });
    this.attachments = new Attachments({onproblem, onchange: () => this.#showState()});
    this.handlers = {edit: (message) => this.#edit(message), retry: (message) => this.#retry(message)};
    this.#listen();
    this.#open(loadConversation(location.hash.slice(1)), {push: false});
    this.#loadModels();
  }

  #listen() {
    $('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    $('input').addEventListener('input', () => this.#showState());
    $('input').addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      // On a touch screen's keyboard there is no other way to start a line.
      if (matchMedia('(pointer: coarse)').matches && !event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      this.#send();
    });
    $('stop').addEventListener('click', () => this.#stop());
    $('new-chat').addEventListener('click', () => {
      this.#open(null);
      this.sidebar.close(false);
    });
    addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && !document.querySelector('dialog[open]')) this.#stop();
    });
    addEventListener('hashchange', () => {
      if (location.hash.slice(1) !== this.#conversation.id) this.#open(loadConversation(location.hash.slice(1)), {push: false});
    });
    addEventListener('storage', (event) => {
      if (isListKey(event.key)) this.sidebar.show(this.#conversation.id);
    });
    addEventListener('pagehide', () => this.#keepPartial());
    addEventListener('online', () => this.#loadModels());
    $('to-end').addEventListener('click', () => {
      this.#follow = true;
      this.#scrollToEnd();
    });
    $('scroller').addEventListener('scroll', () => this.#noteScroll(), {passive: true});
  }

  async #loadModels() {
    try {
      this.settings.showModels(await listModels(this.settings.key));
      this.#hideProblem();
    } catch (error) {
      if (error.status === 401 && await this.settings.askForKey(error.message)) return this.#loadModels();
      this.#showProblem(error.message, () => this.#loadModels());
    }
    this.#showState();
  }

  // --- what is shown

  #open(conversation, {push = true} = {}) {
    this.#stop();
    this.#keepPartial();
    this.#running = null;
    this.#conversation = conversation ?? newConversation();
    const hash = conversation ? `#${conversation.id}` : ' ';
    if (push && location.hash !== hash.trim()) history.pushState(null, '', conversation ? hash : location.pathname);
    this.#views.clear();
    $('messages').replaceChildren(...this.#conversation.messages.map((message) => this.#view(message)));
    this.#askForResults();
    this.#showTitle();
    this.sidebar.show(this.#conversation.id);
    this.#showState();
    this.#follow = true;
    this.#scrollToEnd();
    if (!matchMedia('(pointer: coarse)').matches) $('input').focus();
  }

  #view(message) {
    if (message.role !== 'assistant') return messageView(message, this.handlers);
    const view = new ReplyView(message, this.handlers);
    this.#views.set(message.id, view);
    return view.element;
  }

  #showTitle() {
    const title = this.#conversation.title || 'New chat';
    $('title').textContent = title;
    document.title = this.#conversation.title ? `${title} · dsv4` : 'dsv4';
  }

  #showState() {
    const running = this.#running !== null;
    const input = $('input');
    input.style.height = 'auto';
    input.style.height = `${Math.min(input.scrollHeight, 0.4 * innerHeight)}px`;
    $('send').hidden = running;
    $('stop').hidden = !running;
    $('send').disabled = (input.value.trim() === '' && this.attachments.isEmpty) || $('model').value === '';
    $('welcome').hidden = this.#conversation.messages.length > 0;
    $('messages').setAttribute('aria-busy', running);
    for (const element of document.querySelectorAll('[data-needs-idle]:not([data-waits])')) element.disabled = running;
  }

  #showProblem(text, retry = null) {
    const close = iconButton('close', 'Dismiss', () => this.#hideProblem());
    $('banner').replaceChildren(text, ' ');
    if (retry) {
      const again = document.createElement('button');
      again.className = 'plain';
      again.textContent = 'Try again';
      again.onclick = retry;
      $('banner').append(again);
    }
    $('banner').append(close);
    $('banner').hidden = false;
  }

  #hideProblem() {
    $('banner').hidden = true;
  }

  // Only a person scrolls up; what grows or shrinks moves the end alone.
  #noteScroll() {
    const {scrollTop, clientHeight, scrollHeight} = $('scroller');
    const atEnd = scrollTop + clientHeight >= scrollHeight - 40;
    if (atEnd) this.#follow = true;
    else if (scrollTop < this.#lastTop - 1) this.#follow = false;
    this.#lastTop = scrollTop;
    $('to-end').hidden = atEnd || this.#follow;
  }

  #scrollToEnd() {
    $('scroller').scrollTop = $('scroller').scrollHeight;
    $('to-end').hidden = true;
  }

  // --- what is kept

  #save() {
    this.#conversation.updated = Date.now();
    try {
      saveConversation(this.#conversation);
    } catch (error) {
      this.#showProblem(error.message);
    }
    this.sidebar.show(this.#conversation.id);
  }

  // The page is being left: what has come of a reply stays.
  #keepPartial() {
    if (this.#running) this.#finish(this.#running, 'stopped');
  }

  #append(message) {
    message.id = newId();
    this.#conversation.messages.push(message);
    return message;
  }

  #cutFrom(message) {
    const at = this.#conversation.messages.indexOf(message);
    if (at < 0) return false;
    for (const gone of this.#conversation.messages.splice(at)) {
      $('messages').querySelector(`[data-id="${CSS.escape(gone.id)}"]`)?.remove();
      this.#views.delete(gone.id);
    }
    return true;
  }

  // --- what people do

  #send() {
    const content = $('input').value.trim();
    if (this.#running || $('send').disabled) return;
    this.#closeOpenCalls();
    const message = this.#append({role: 'user', content, files: this.attachments.take()});
    $('input').value = '';
    this.#begin(message);
  }

  #begin(message) {
    const {id, title} = this.#conversation;
    if (!title) {
      this.#conversation.title = (message.content || message.files[0].name).replace(/\s+/g, ' ').slice(0, 60);
      this.#showTitle();
    }
    if (location.hash !== `#${id}`) history.pushState(null, '', `#${id}`);
    $('messages').append(this.#view(message));
    this.#save();
    this.#run();
  }

  #edit(message) {
    if (this.#running) return;
    const old = $('messages').querySelector(`[data-id="${CSS.escape(message.id)}"]`);
    const back = () => {
      const view = this.#view(message);
      editor.replaceWith(view);
      view.querySelector('.actions button:last-child').focus();
    };
    const editor = editorView(message, {
      oncancel: back,
      onsend: (content) => {
        if (this.#running || (!content && message.files.length === 0)) return;
        this.#cutFrom(message);
        this.#begin(this.#append({role: 'user', content, files: message.files}));
        $('input').focus();
      },
    });
    old.replaceWith(editor);
  }

  #retry(message) {
    if (this.#running || !this.#cutFrom(message)) return;
    this.#run();
    $('input').focus();
  }

  #stop() {
    this.#running?.controller.abort();
  }

  #askForResults() {
    const last = this.#conversation.messages.at(-1);
    if (last?.role !== 'assistant' || last.calls.length === 0 || last.finish !== 'tool_calls') return;
    this.#views.get(last.id).askForResults((results) => {
      if (this.#running) return;
      this.#views.get(last.id).results.replaceChildren();
      for (const result of results) $('messages').append(this.#view(this.#append({role: 'tool', ...result})));
      this.#save();
      this.#run();
    });
  }

  // A message instead of results: the API wants an answer to every call.
  #closeOpenCalls() {
    const last = this.#conversation.messages.at(-1);
    if (last?.role !== 'assistant' || last.calls.length === 0) return;
    this.#views.get(last.id)?.results.replaceChildren();
    for (const call of last.calls) {
      $('messages').append(this.#view(this.#append({role: 'tool', call: call.id, content: 'No result.'})));
    }
  }

  // --- a reply

  async #run() {
    const settings = this.settings.request;
    const request = buildRequest(this.#conversation, settings);
    const reply = new Reply(settings.model);
    const message = this.#append(reply.message);
    const view = new ReplyView(message, this.handlers);
    this.#views.set(message.id, view);
    $('messages').append(view.element);
    const run = {controller: new AbortController(), reply, view, message, conversation: this.#conversation, lastSave: performance.now()};
    this.#running = run;
    this.#follow = true;
    this.#showState();
    this.#paint(run);
    announce('Waiting for the reply');
    try {
      await streamChat(request, {key: this.settings.key, signal: run.controller.signal, onChunk: (chunk) => reply.take(chunk)});
      this.#finish(run);
    } catch (error) {
      if (error.name === 'AbortError') return this.#finish(run, 'stopped');
      await this.#fail(run, error);
    }
  }

  // Shows what has come. A slow rendering is given time to breathe.
  #paint(run) {
    if (this.#running !== run) return;
    const start = performance.now();
    run.view.update(run.message, {phase: run.reply.phase, ...run.reply.live()});
    if (this.#follow) this.#scrollToEnd();
    if (start - run.lastSave > SAVE_EVERY_MS) {
      run.lastSave = start;
      this.#save();
    }
    const cost = performance.now() - start;
    setTimeout(() => requestAnimationFrame(() => this.#paint(run)), Math.max(30, 3 * cost));
  }

  #finish(run, finish) {
    if (this.#running !== run) return;
    run.reply.end(finish);
    this.#running = null;
    run.view.update(run.message, {phase: 'done'});
    const isEmpty = !run.message.content && !run.message.reasoning && run.message.calls.length === 0;
    if (isEmpty && finish === 'stopped') this.#cutFrom(run.message);
    this.#save();
    this.#askForResults();
    this.#showState();
    if (this.#follow) this.#scrollToEnd();
    announce(finish === 'stopped' ? 'Stopped' : run.message.calls.length > 0 ? 'The model calls a tool' : 'The reply is complete');
  }

  async #fail(run, error) {
    if (this.#running !== run) return;
    const known = error instanceof ApiError;
    run.message.error = {text: known ? error.message : `The page failed: ${error.message}`, retryAfter: error.retryAfter};
    this.#finish(run, 'error');
    announce(run.message.error.text);
    if (known && error.status === 401 && await this.settings.askForKey(error.message)) this.#retry(run.message);
  }
}

new Page();
