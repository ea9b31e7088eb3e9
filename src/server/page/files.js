// Text files that go with the next message: picked, pasted or dropped.
import {$, h, icon, iconButton} from './dom.js';
import {sizeText} from './view.js';

const MAX_FILE_BYTES = 512 * 1024;
const MAX_TOTAL_BYTES = 1024 * 1024;

// The text of a file. Throws Error with a message for people.
async function readText(file) {
  if (file.size > MAX_FILE_BYTES) {
    throw new Error(`“${file.name}” has ${sizeText(file.size)}; at most ${sizeText(MAX_FILE_BYTES)} can be attached.`);
  }
  let bytes;
  try {
    bytes = new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new Error(`“${file.name}” cannot be read. Folders cannot be attached.`);
  }
  try {
    const text = new TextDecoder('utf-8', {fatal: true}).decode(bytes);
    if (!text.includes('\0')) return text.replace(/\r\n?/g, '\n');
  } catch {
    // Falls through to the message.
  }
  throw new Error(`“${file.name}” is not a text file. Only text in UTF-8 can be attached.`);
}

export class Attachments {
  #files = [];

  constructor({onproblem, onchange}) {
    this.onproblem = onproblem;
    this.onchange = onchange;
    $('attach').addEventListener('click', () => $('files').click());
    $('files').addEventListener('change', async () => {
      await this.add($('files').files);
      $('files').value = '';
      $('input').focus();
    });
    $('input').addEventListener('paste', (event) => {
      if (event.clipboardData.files.length === 0) return;
      event.preventDefault();
      this.add(event.clipboardData.files);
    });
    this.#listenForDrops();
  }

  #listenForDrops() {
    const hasFiles = (event) => event.dataTransfer?.types.includes('Files');
    addEventListener('dragenter', (event) => {
      if (hasFiles(event)) $('drop').hidden = false;
    });
    addEventListener('dragover', (event) => {
      if (hasFiles(event)) event.preventDefault();
    });
    addEventListener('dragleave', (event) => {
      if (event.relatedTarget === null) $('drop').hidden = true;
    });
    addEventListener('drop', (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      $('drop').hidden = true;
      this.add(event.dataTransfer.files);
    });
  }

  async add(files) {
    const problems = [];
    for (const file of files) {
      try {
        const text = await readText(file);
        const total = this.#files.reduce((sum, f) => sum + f.text.length, text.length);
        if (total > MAX_TOTAL_BYTES) throw new Error(`“${file.name}” is too much: all files together may have ${sizeText(MAX_TOTAL_BYTES)}.`);
        this.#files.push({name: file.name || 'pasted.txt', text});
      } catch (error) {
        problems.push(error.message);
      }
    }
    this.#show();
    if (problems.length > 0) this.onproblem(problems.join(' '));
  }

  get isEmpty() {
    return this.#files.length === 0;
  }

  // Hands the files over and forgets them.
  take() {
    const files = this.#files;
    this.#files = [];
    this.#show();
    return files;
  }

  #show() {
    const list = $('attachments');
    list.hidden = this.isEmpty;
    list.replaceChildren(...this.#files.map((file, i) => h('li', {},
      icon('file'), h('span', {class: 'name'}, file.name), h('span', {class: 'size'}, sizeText(file.text.length)),
      iconButton('close', `Remove ${file.name}`, () => {
        this.#files.splice(i, 1);
        this.#show();
        $('input').focus();
      }))));
    this.onchange();
  }
}
