// The server's API as this page uses it: the list of models and streamed chat completions.

// `status` 0: no answer from the server. `retryAfter` in seconds, or null.
export class ApiError extends Error {
  constructor(message, {status = 0, retryAfter = null, param = ''} = {}) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
    this.param = param;
  }
}

const MEANING = {
  401: 'The server does not accept this API key.',
  403: 'This key is not allowed to do that.',
  404: 'The server does not have what was asked for.',
  413: 'The message is larger than the server takes.',
  429: 'The server has no room for this request at the moment.',
  500: 'The server failed.',
  503: 'The server is busy or shutting down.',
};

function retrySeconds(value) {
  if (!value) return null;
  const seconds = /^\d+$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.min(Math.max(0, Math.ceil(seconds)), 3600) : null;
}

async function errorOf(response) {
  const details = {status: response.status, retryAfter: retrySeconds(response.headers.get('retry-after'))};
  let message = '';
  try {
    const body = (await response.text()).slice(0, 100000);
    const error = JSON.parse(body).error;
    message = typeof error === 'string' ? error : error?.message ?? '';
    details.param = typeof error?.param === 'string' ? error.param : '';
  } catch {
    // Not the shape of an error; the status says enough.
  }
  const meaning = MEANING[response.status] ?? `The server answered ${response.status}.`;
  if (typeof message !== 'string' || !message) message = meaning;
  if (details.param && !message.includes(details.param)) message += ` (${details.param})`;
  return new ApiError(message, details);
}

async function send(path, key, options = {}) {
  const headers = {...options.headers};
  if (key) headers.Authorization = `Bearer ${key}`;
  let response;
  try {
    response = await fetch(path, {...options, headers});
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ApiError('The server cannot be reached. It may have been stopped, or the network is down.');
  }
  if (!response.ok) throw await errorOf(response);
  return response;
}

export async function listModels(key) {
  const response = await send('v1/models', key);
  const body = await response.json();
  return (Array.isArray(body.data) ? body.data : []).map((m) => m.id).filter((id) => typeof id === 'string');
}

// The data of server-sent events, however the bytes are cut.
export class EventParser {
  #rest = '';
  #data = [];

  // Takes text and returns the data of the events that are complete with it.
  take(text) {
    const events = [];
    let start = 0;
    this.#rest += text;
    // A carriage return at the end may be the first half of a line's end.
    const line = /\r\n|\n|\r(?!$)/g;
    for (let end; (end = line.exec(this.#rest)) !== null;) {
      this.#line(this.#rest.slice(start, end.index), events);
      start = line.lastIndex;
    }
    this.#rest = this.#rest.slice(start);
    return events;
  }

  #line(line, events) {
    if (line === '') {
      if (this.#data.length > 0) events.push(this.#data.join('\n'));
      this.#data = [];
    } else if (line === 'data' || line.startsWith('data:')) {
      this.#data.push(line.slice(5).replace(/^ /, ''));
    }
  }
}

function parseChunk(data) {
  let chunk;
  try {
    chunk = JSON.parse(data);
  } catch {
    throw new ApiError('The server sent something that is not JSON.', {status: 200});
  }
  if (chunk.error) {
    const message = typeof chunk.error === 'string' ? chunk.error : chunk.error.message;
    throw new ApiError(message || 'The server failed while it was answering.', {status: 200});
  }
  return chunk;
}

// Calls onChunk for every chunk of the reply. Throws ApiError, or AbortError after `signal`.
export async function streamChat(request, {key, signal, onChunk}) {
  const response = await send('v1/chat/completions', key, {
    method: 'POST',
    headers: {'Content-Type': 'application/json', 'Accept': 'text/event-stream'},
    body: JSON.stringify({...request, stream: true, stream_options: {include_usage: true}}),
    signal,
  });
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  const parser = new EventParser();
  for (;;) {
    let part;
    try {
      part = await reader.read();
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new ApiError('The connection to the server was lost before the reply was complete.');
    }
    for (const data of parser.take(decoder.decode(part.value ?? new Uint8Array(), {stream: !part.done}))) {
      if (data === '[DONE]') return;
      onChunk(parseChunk(data));
    }
    if (part.done) throw new ApiError('The server ended the connection before the reply was complete.');
  }
}
