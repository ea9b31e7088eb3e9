// From a conversation to a request, and from the chunks of a reply to a message with its times.

// A fence that no line of the text can close.
function fenced(name, text) {
  const longest = Math.max(2, ...Array.from(text.matchAll(/`{3,}/g), (m) => m[0].length));
  const fence = '`'.repeat(longest + 1);
  const type = /\.(\w{1,12})$/.exec(name)?.[1] ?? '';
  return `File: ${name}\n${fence}${type}\n${text}${text.endsWith('\n') ? '' : '\n'}${fence}`;
}

// What the model reads of a user's message.
export function userText(message) {
  return [...(message.files ?? []).map((f) => fenced(f.name, f.text)), message.content].filter(Boolean).join('\n\n');
}

function apiMessage(message) {
  if (message.role === 'user') return {role: 'user', content: userText(message)};
  if (message.role === 'tool') return {role: 'tool', tool_call_id: message.call, content: message.content};
  const out = {role: 'assistant', content: message.content};
  if (message.reasoning) out.reasoning_content = message.reasoning;
  if (message.calls.length > 0) {
    out.tool_calls = message.calls.map((c) => ({id: c.id, type: 'function', function: {name: c.name, arguments: c.arguments}}));
  }
  return out;
}

const NUMBERS = ['temperature', 'top_p', 'max_tokens', 'seed', 'presence_penalty', 'frequency_penalty'];

export function buildRequest(conversation, settings) {
  const messages = conversation.messages.filter((m) => m.role !== 'assistant' || m.content || m.reasoning || m.calls.length > 0)
    .map(apiMessage);
  if (conversation.system) messages.unshift({role: 'system', content: conversation.system});
  const request = {model: settings.model, messages, reasoning_effort: settings.effort};
  for (const name of NUMBERS) {
    if (Number.isFinite(settings[name])) request[name] = settings[name];
  }
  if (settings.tools?.length > 0) request.tools = settings.tools;
  return request;
}

const textOf = (value) => typeof value === 'string' ? value : '';

// Collects one reply. Times are in seconds from the moment of sending.
export class Reply {
  #start;
  #firstAt = null;
  #lastAt = null;
  #pieces = 0;

  constructor(model, now = performance.now()) {
    this.#start = now;
    this.message = {role: 'assistant', content: '', reasoning: '', calls: [], finish: '', model, stats: {}};
  }

  get phase() {
    const {content, reasoning, calls} = this.message;
    if (calls.length > 0) return 'calling';
    if (content) return 'answering';
    return reasoning ? 'thinking' : 'waiting';
  }

  take(chunk, now = performance.now()) {
    const choice = Array.isArray(chunk.choices) ? chunk.choices[0] : null;
    if (choice) this.#takeDelta(choice.delta ?? {}, now);
    if (choice?.finish_reason) this.message.finish = textOf(choice.finish_reason);
    if (chunk.usage) this.#takeUsage(chunk.usage);
  }

  #takeDelta(delta, now) {
    const {message} = this;
    const reasoning = textOf(delta.reasoning_content) || textOf(delta.reasoning);
    const content = textOf(delta.content);
    const calls = Array.isArray(delta.tool_calls) ? delta.tool_calls : [];
    if (!reasoning && !content && calls.length === 0) return;
    if (this.#firstAt === null) {
      this.#firstAt = now;
      message.stats.first = (now - this.#start) / 1000;
    }
    this.#lastAt = now;
    this.#pieces += 1;
    if (message.stats.thinking === undefined && message.reasoning && !reasoning) {
      message.stats.thinking = (now - this.#firstAt) / 1000;
    }
    message.reasoning += reasoning;
    message.content += content;
    for (const call of calls) this.#takeCall(call);
  }

  #takeCall(delta) {
    const {calls} = this.message;
    const index = Number.isInteger(delta.index) && delta.index >= 0 && delta.index <= calls.length ? delta.index : calls.length;
    calls[index] ??= {id: '', name: '', arguments: ''};
    const call = calls[index];
    call.id ||= textOf(delta.id);
    call.name += textOf(delta.function?.name);
    call.arguments += textOf(delta.function?.arguments);
  }

  #takeUsage(usage) {
    const {stats} = this.message;
    stats.prompt = usage.prompt_tokens;
    stats.cached = usage.prompt_tokens_details?.cached_tokens ?? 0;
    stats.output = usage.completion_tokens;
  }

  // Tokens a second after the first one; until the server tells their number, pieces stand in.
  live(now = performance.now()) {
    const {stats} = this.message;
    const n = stats.output ?? this.#pieces;
    const seconds = this.#lastAt === null ? 0 : (this.#lastAt - this.#firstAt) / 1000;
    return {elapsed: (now - this.#start) / 1000, output: n, speed: n > 1 && seconds > 0 ? (n - 1) / seconds : undefined};
  }

  end(finish = this.message.finish, now = performance.now()) {
    const {stats} = this.message;
    const {elapsed, speed, output} = this.live(now);
    if (this.message.reasoning && stats.thinking === undefined && this.#lastAt !== null) {
      stats.thinking = (this.#lastAt - this.#firstAt) / 1000;
    }
    Object.assign(stats, {total: elapsed, speed, output});
    this.message.finish = finish;
    return this.message;
  }
}
