"""The Messages API through Anthropic's own package."""

import json

import anthropic
from harness import check, equal, raises, test
from openai_chat import model


def client(target, **options):
    return anthropic.Anthropic(base_url=target.url, **{"api_key": target.key, "max_retries": 0, "timeout": 120, **options})


def arguments_of(target, messages, **options):
    system = [m["content"] for m in messages if m["role"] == "system"]
    given = {"model": model(target), "max_tokens": 200, "messages": [m for m in messages if m["role"] != "system"], "extra_body": {"temperature": 0}}
    if system:
        given["system"] = system[0]
    return {**given, **options}


def ask(target, messages, **options):
    return client(target).messages.create(**arguments_of(target, messages, **options))


def text_of(message):
    return "".join(block.text for block in message.content if block.type == "text")


def tools_of(tools):
    return [{"name": t["function"]["name"], "description": t["function"]["description"], "input_schema": t["function"]["parameters"]} for t in tools]


@test
def answers(target):
    messages, _, expected = target.question("e090")
    reply = ask(target, messages)
    equal(text_of(reply), expected["content"])
    equal((reply.type, reply.role, reply.stop_reason), ("message", "assistant", "end_turn"))
    check(reply.usage.input_tokens + (reply.usage.cache_read_input_tokens or 0) > 0 and reply.usage.output_tokens > 0, "usage")
    blocks = [{"role": "user", "content": [{"type": "text", "text": messages[1]["content"], "cache_control": {"type": "ephemeral"}}]}]
    equal(text_of(ask(target, blocks, system=[{"type": "text", "text": messages[0]["content"]}])), expected["content"])


@test
def streams(target):
    messages, _, expected = target.question("e144")
    with client(target).messages.stream(**arguments_of(target, messages)) as stream:
        kinds = [event.type for event in stream]
        equal(text_of(stream.get_final_message()), expected["content"])
    equal((kinds[0], kinds[-1]), ("message_start", "message_stop"))
    for kind in ("content_block_start", "content_block_delta", "content_block_stop", "message_delta"):
        check(kind in kinds, f"{kind} in {kinds}")


@test
def thinks_in_blocks_and_takes_them_back(target):
    messages, _, expected = target.question("e073")
    options = {"thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 1500}
    reply = ask(target, messages, **options)
    equal([block.type for block in reply.content], ["thinking", "text"])
    equal(text_of(reply), expected["content"])
    check(reply.content[0].signature, "thinking is signed")
    with client(target).messages.stream(**arguments_of(target, messages, **options)) as stream:
        final = stream.get_final_message()
    equal(final.content[0].thinking, reply.content[0].thinking, "streamed thinking")
    again = ask(target, [*messages, {"role": "assistant", "content": reply.content}, {"role": "user", "content": "Compute 46 + 63."}], **options)
    check(text_of(again), "goes on")


@test
def calls_a_tool_and_takes_its_result(target):
    messages, tools, expected = target.question("e216")
    options = {"tools": tools_of(tools)}
    reply = ask(target, messages, **options)
    equal(reply.stop_reason, "tool_use")
    call = next(block for block in reply.content if block.type == "tool_use")
    equal((call.name, call.input), ("calculator", json.loads(expected["tool_calls"][0]["arguments"])))
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "1301"}]}
    answer = ask(target, [*messages, {"role": "assistant", "content": reply.content}, result], **options)
    check("1301" in text_of(answer), text_of(answer))
    with client(target).messages.stream(**arguments_of(target, messages, **options)) as stream:
        final = stream.get_final_message()
    equal(next(b for b in final.content if b.type == "tool_use").input, call.input)
    forced = ask(target, [{"role": "user", "content": "Repeat: 20 277"}], tool_choice={"type": "tool", "name": "calculator"}, **options)
    check(any(b.type == "tool_use" for b in forced.content), "a forced call")


@test
def counts_tokens(target):
    messages, tools, _ = target.question("e216")
    given = arguments_of(target, messages, tools=tools_of(tools))
    for key in ("max_tokens", "extra_body"):
        given.pop(key)
    n = client(target).messages.count_tokens(**given).input_tokens
    usage = ask(target, messages, tools=tools_of(tools)).usage
    equal(n, usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0), "counted and used")


@test
def counts_what_came_from_the_cache(target):
    story = "Zoe has a small house near the beach. One evening, Zoe found a green lamp. " * 12
    messages = [{"role": "user", "content": story + "\n\nWhat did Zoe find?"}]
    first = ask(target, messages)
    size = first.usage.input_tokens + (first.usage.cache_read_input_tokens or 0) + (first.usage.cache_creation_input_tokens or 0)
    second = ask(target, [*messages, {"role": "assistant", "content": first.content}, {"role": "user", "content": "Where does Zoe live?"}])
    check(second.usage.cache_read_input_tokens >= 0.9 * size, f"{second.usage} after {size}")


@test
def stops_at_strings_and_lengths(target):
    messages, _, expected = target.question("e144")
    reply = ask(target, messages, stop_sequences=[" 356"])
    equal((reply.stop_reason, reply.stop_sequence), ("stop_sequence", " 356"))
    equal(text_of(reply), expected["content"].split(" 356")[0])
    equal(ask(target, messages, max_tokens=3).stop_reason, "max_tokens")


@test
def says_what_is_wrong(target):
    one = [{"role": "user", "content": "x"}]
    error = raises(anthropic.BadRequestError, lambda: ask(target, [*one, {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x/y"}}]}]))
    equal(error.body["type"], "error")
    equal(error.body["error"]["type"], "invalid_request_error")
    check("messages" in error.body["error"]["message"], error.body["error"]["message"])
    raises(anthropic.BadRequestError, lambda: ask(target, one, max_tokens=0))
    equal(raises(anthropic.NotFoundError, lambda: ask(target, one, model="other")).body["error"]["type"], "not_found_error")
    denied = raises(anthropic.AuthenticationError, lambda: client(target, api_key="sk-wrong").messages.create(**arguments_of(target, one)))
    equal(denied.body["error"]["type"], "authentication_error")
