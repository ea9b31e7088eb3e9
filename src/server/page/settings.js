// The settings dialog, the selectors, the theme and the API key.
import {$, setIcon} from './dom.js';
import {loadKey, loadSettings, saveKey, saveSettings} from './store.js';

const NUMBERS = ['temperature', 'top_p', 'max_tokens', 'seed', 'presence_penalty', 'frequency_penalty'];
const EFFORTS = ['none', 'low', 'high', 'max'];
const THEMES = ['auto', 'light', 'dark'];

// Functions as the API wants them. Throws Error with a message for people.
function parseTools(text) {
  if (!text.trim()) return [];
  let tools;
  try {
    tools = JSON.parse(text);
  } catch (error) {
    throw new Error(`Not JSON: ${error.message}`);
  }
  if (!Array.isArray(tools)) throw new Error('Expected a list of functions: [ … ].');
  tools.forEach((tool, i) => {
    if (tool?.type !== 'function' || typeof tool.function?.name !== 'string') {
      throw new Error(`Number ${i + 1} needs "type": "function" and "function": {"name": …}.`);
    }
  });
  return tools;
}

export class Settings {
  #stored = loadSettings();
  #onproblem;

  constructor({onproblem, getSystem, setSystem}) {
    this.#onproblem = onproblem;
    ({key: this.key, keep: this.keepKey} = loadKey());
    this.#applyTheme();
    this.#fillFields();
    $('theme').addEventListener('click', () => this.#nextTheme());
    $('effort').addEventListener('change', () => this.#store({effort: $('effort').value}));
    $('model').addEventListener('change', () => this.#store({model: $('model').value}));
    $('open-settings').addEventListener('click', () => {
      $('system').value = getSystem();
      $('api-key').value = this.key;
      $('keep-key').checked = this.keepKey;
      $('settings').showModal();
      $('system').focus();
    });
    $('system').addEventListener('change', () => setSystem($('system').value.trim()));
    for (const id of ['api-key', 'keep-key']) {
      $(id).addEventListener('change', () => this.setKey($('api-key').value.trim(), $('keep-key').checked));
    }
    // A click beside a dialog closes it.
    $('settings').addEventListener('mousedown', (event) => {
      if (event.target === $('settings')) $('settings').close();
    });
  }

  #store(changes) {
    Object.assign(this.#stored, changes);
    try {
      saveSettings(this.#stored);
    } catch (error) {
      this.#onproblem(error.message);
    }
  }

  #fillFields() {
    $('effort').value = EFFORTS.includes(this.#stored.effort) ? this.#stored.effort : 'high';
    for (const name of NUMBERS) {
      const field = $(name);
      if (Number.isFinite(this.#stored[name])) field.value = this.#stored[name];
      field.addEventListener('change', () => {
        field.reportValidity();
        if (field.validity.valid) this.#store({[name]: field.value === '' ? null : field.valueAsNumber});
      });
    }
    $('tools').value = typeof this.#stored.tools === 'string' ? this.#stored.tools : '';
    const check = () => {
      try {
        parseTools($('tools').value);
        $('tools-error').textContent = '';
        $('tools').removeAttribute('aria-invalid');
        this.#store({tools: $('tools').value});
      } catch (error) {
        $('tools-error').textContent = error.message;
        $('tools').setAttribute('aria-invalid', 'true');
      }
    };
    $('tools').addEventListener('change', check);
  }

  // What goes into a request.
  get request() {
    const settings = {model: $('model').value, effort: $('effort').value, tools: []};
    for (const name of NUMBERS) settings[name] = this.#stored[name] ?? undefined;
    try {
      settings.tools = parseTools(this.#stored.tools ?? '');
    } catch {
      // Kept by an older page; the dialog shows what is wrong.
    }
    return settings;
  }

  showModels(ids) {
    $('model').replaceChildren(...ids.map((id) => new Option(id, id)));
    if (ids.includes(this.#stored.model)) $('model').value = this.#stored.model;
    $('model').disabled = ids.length < 2;
    $('model').title = ids.length < 2 ? 'The server has one model' : 'Model';
  }

  setKey(key, keep) {
    this.key = key;
    this.keepKey = keep;
    saveKey(key, keep);
  }

  // Asks for the key. Resolves to whether there is a new one.
  askForKey(message) {
    const dialog = $('key-dialog');
    $('key-message').textContent = message;
    $('key-input').value = '';
    $('key-keep').checked = this.keepKey;
    $('key-cancel').onclick = () => dialog.close('cancel');
    dialog.returnValue = 'cancel';
    dialog.showModal();
    $('key-input').focus();
    return new Promise((resolve) => {
      dialog.addEventListener('close', () => {
        const key = $('key-input').value.trim();
        $('key-input').value = '';
        if (dialog.returnValue !== 'ok' || !key) return resolve(false);
        this.setKey(key, $('key-keep').checked);
        resolve(true);
      }, {once: true});
    });
  }

  #nextTheme() {
    const at = THEMES.indexOf(this.#stored.theme ?? 'auto');
    this.#store({theme: THEMES[(at + 1) % THEMES.length]});
    this.#applyTheme();
  }

  #applyTheme() {
    const theme = THEMES.includes(this.#stored.theme) ? this.#stored.theme : 'auto';
    document.documentElement.dataset.theme = theme;
    setIcon($('theme'), theme);
    const label = {auto: 'as the system', light: 'light', dark: 'dark'}[theme];
    $('theme').title = `Colours: ${label}`;
    $('theme').setAttribute('aria-label', `Colours: ${label}. Change`);
  }
}
