// Conversations and settings in the browser's storage: a list under one key, and a key for each
// conversation, so that a change writes one conversation. What is read is checked, because other
// pages of this address, older versions and import files may have written it.

const LIST = 'dsv4.list';
const SETTINGS = 'dsv4.settings';
const KEY = 'dsv4.key';
const item = (id) => `dsv4.chat.${id}`;
const ROLES = ['user', 'assistant', 'tool'];

// The storage is full or switched off. What was being written is still in memory.
export class StorageError extends Error {}

function write(key, value) {
  try {
    localStorage.setItem(key, JSON.stringify(value));
  } catch (error) {
    const full = error.name === 'QuotaExceededError' || error.name === 'NS_ERROR_DOM_QUOTA_REACHED';
    throw new StorageError(full
      ? 'The browser’s storage for this page is full: export and delete old chats. Until then, changes are lost when the page is closed.'
      : 'The browser does not let this page store anything: chats are lost when the page is closed.');
  }
}

function read(key, fallback) {
  try {
    return JSON.parse(localStorage.getItem(key)) ?? fallback;
  } catch {
    return fallback;
  }
}

export const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(9)), (b) => b.toString(36).padStart(2, '0')).join('');

export function newConversation() {
  return {id: newId(), title: '', created: Date.now(), updated: Date.now(), system: '', messages: []};
}

const text = (value, fallback = '') => typeof value === 'string' ? value : fallback;
const number = (value) => Number.isFinite(value) ? value : undefined;
const list = (value) => Array.isArray(value) ? value : [];

function checkMessage(m) {
  if (m === null || typeof m !== 'object' || !ROLES.includes(m.role)) return null;
  const message = {id: text(m.id) || newId(), role: m.role, content: text(m.content)};
  if (m.role === 'user') {
    message.files = list(m.files).filter((f) => f && typeof f.name === 'string' && typeof f.text === 'string')
      .map((f) => ({name: f.name, text: f.text}));
  } else if (m.role === 'tool') {
    message.call = text(m.call);
  } else {
    message.reasoning = text(m.reasoning);
    message.calls = list(m.calls).filter((c) => c && typeof c.name === 'string')
      .map((c) => ({id: text(c.id), name: c.name, arguments: text(c.arguments)}));
    message.finish = text(m.finish);
    message.model = text(m.model);
    const stats = m.stats !== null && typeof m.stats === 'object' ? m.stats : {};
    message.stats = Object.fromEntries(
      ['first', 'thinking', 'total', 'prompt', 'cached', 'output', 'speed'].map((k) => [k, number(stats[k])]));
    if (m.error && typeof m.error.text === 'string') message.error = {text: m.error.text};
  }
  return message;
}

// A conversation of the fields that it should have, or null.
export function checkConversation(c) {
  if (c === null || typeof c !== 'object' || !Array.isArray(c.messages)) return null;
  return {
    id: /^[\w-]{1,64}$/.test(c.id) ? c.id : newId(),
    title: text(c.title).slice(0, 200),
    created: number(c.created) ?? Date.now(),
    updated: number(c.updated) ?? Date.now(),
    system: text(c.system),
    messages: c.messages.map(checkMessage).filter(Boolean),
  };
}

// {id, title, updated}, latest first.
export function listConversations() {
  return list(read(LIST, [])).filter((c) => c && /^[\w-]{1,64}$/.test(c.id))
    .map((c) => ({id: c.id, title: text(c.title), updated: number(c.updated) ?? 0}))
    .sort((a, b) => b.updated - a.updated);
}

export const loadConversation = (id) => checkConversation(read(item(id), null));

export function saveConversation(conversation) {
  write(item(conversation.id), conversation);
  const others = listConversations().filter((c) => c.id !== conversation.id);
  write(LIST, [{id: conversation.id, title: conversation.title, updated: conversation.updated}, ...others]);
}

export function deleteConversation(id) {
  try {
    localStorage.removeItem(item(id));
  } catch {
    // Without a storage there is nothing to remove.
  }
  write(LIST, listConversations().filter((c) => c.id !== id));
}

export const isListKey = (key) => key === LIST || key === null;

export function exportAll(ids = listConversations().map((c) => c.id)) {
  const conversations = ids.map(loadConversation).filter(Boolean);
  return JSON.stringify({format: 'dsv4-chats', version: 1, conversations}, null, 1);
}

// Adds the conversations of an export under new names where theirs are taken. Returns how many.
export function importAll(json) {
  let data;
  try {
    data = JSON.parse(json);
  } catch {
    throw new Error('This file is not JSON.');
  }
  if (data?.format !== 'dsv4-chats' || !Array.isArray(data.conversations)) {
    throw new Error('This file is not an export of chats of this page.');
  }
  const taken = new Set(listConversations().map((c) => c.id));
  const conversations = data.conversations.map(checkConversation).filter(Boolean);
  for (const conversation of conversations) {
    if (taken.has(conversation.id)) conversation.id = newId();
    taken.add(conversation.id);
    saveConversation(conversation);
  }
  return conversations.length;
}

export function loadSettings() {
  const settings = read(SETTINGS, {});
  return settings !== null && typeof settings === 'object' && !Array.isArray(settings) ? settings : {};
}

export const saveSettings = (settings) => write(SETTINGS, settings);

// The API key lasts as long as the tab unless it is to be kept.
export function loadKey() {
  try {
    const kept = localStorage.getItem(KEY);
    return {key: kept ?? sessionStorage.getItem(KEY) ?? '', keep: kept !== null};
  } catch {
    return {key: '', keep: false};
  }
}

export function saveKey(key, keep) {
  try {
    localStorage.removeItem(KEY);
    sessionStorage.removeItem(KEY);
    if (key) (keep ? localStorage : sessionStorage).setItem(KEY, key);
  } catch {
    // Without a storage the key lasts as long as the page.
  }
}
