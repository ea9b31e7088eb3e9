"""Chat completions and completions through OpenAI's own package."""

import json

import openai
from harness import OTHER_KEY, check, equal, raises, test

MODEL = None


def client(target, **options):
    return openai.OpenAI(base_url=target.url + "/v1", **{"api_key": target.key, "max_retries": 0, "timeout": 120, **options})


def model(target):
    global MODEL
    MODEL = MODEL or client(target).models.list().data[0].id
    return MODEL


def ask(target, messages, **options):
    return client(target).chat.completions.create(model=model(target), messages=messages,
                                                  **{"temperature": 0, "max_tokens": 200, **options})


def user(text):
    return [{"role": "user", "content": text}]


@test
def lists_models(target):
    models = client(target).models.list().data
    check(models, "there is a model")
    equal(models[0].object, "model")
    equal(client(target).models.retrieve(models[0].id).id, models[0].id)
    raises(openai.NotFoundError, lambda: client(target).models.retrieve("no-such-model"))


@test
def answers(target):
    messages, _, expected = target.question("e090")
    reply = ask(target, messages)
    equal(reply.choices[0].message.content, expected["content"])
    equal(reply.choices[0].finish_reason, "stop")
    equal(reply.object, "chat.completion")
    equal(reply.usage.total_tokens, reply.usage.prompt_tokens + reply.usage.completion_tokens, "sum of tokens")
    equal(reply.usage.prompt_tokens, len(target.cases["e090"]["prompt_ids"]), "prompt tokens")


@test
def streams_the_same_as_without_streaming(target):
    messages, _, expected = target.question("e144")
    chunks = list(ask(target, messages, stream=True, stream_options={"include_usage": True}))
    equal("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), expected["content"])
    equal(chunks[0].choices[0].delta.role, "assistant")
    check(len([c for c in chunks if c.choices and c.choices[0].delta.content]) > 2, "comes in parts")
    equal([c.choices[0].finish_reason for c in chunks if c.choices and c.choices[0].finish_reason], ["stop"])
    equal(len({c.id for c in chunks}), 1, "ids of one reply")
    equal(chunks[-1].choices, [], "choices of the last chunk")
    check(chunks[-1].usage.completion_tokens > 2, "usage comes last")
    check(all(c.usage is None for c in chunks[:-1]), "and only there")
    without = list(ask(target, messages, stream=True))
    check(all(c.usage is None for c in without), "no usage unless asked for")


@test
def thinks_when_asked_to(target):
    messages, _, expected = target.question("e073")
    for effort in ("high", "low"):
        reply = ask(target, messages, reasoning_effort=effort)
        if effort == "high":
            equal(reply.choices[0].message.content, expected["content"])
        check(reply.choices[0].message.reasoning_content, "there is reasoning")
        check(reply.usage.completion_tokens_details.reasoning_tokens > 0, "and it is counted")
    quiet = ask(target, messages, reasoning_effort="none")
    check(not getattr(quiet.choices[0].message, "reasoning_content", None), "none without")
    chunks = list(ask(target, messages, reasoning_effort="high", stream=True))
    reasoning = "".join(getattr(c.choices[0].delta, "reasoning_content", None) or "" for c in chunks if c.choices)
    content = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    check(reasoning and "think" not in content, "reasoning is apart while streaming")
    equal(content, expected["content"])


@test
def calls_a_tool_and_takes_its_result(target):
    messages, tools, expected = target.question("e216")
    call = expected["tool_calls"][0]
    for stream in (False, True):
        if stream:
            calls = {}
            for chunk in ask(target, messages, tools=tools, stream=True):
                for part in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
                    known = calls.setdefault(part.index, {"id": part.id, "name": part.function.name, "arguments": ""})
                    known["arguments"] += part.function.arguments or ""
            found = calls[0]
            equal(len(calls), 1, "calls")
        else:
            reply = ask(target, messages, tools=tools)
            equal(reply.choices[0].finish_reason, "tool_calls")
            message = reply.choices[0].message
            found = {"id": message.tool_calls[0].id, "name": message.tool_calls[0].function.name,
                     "arguments": message.tool_calls[0].function.arguments}
        equal(found["name"], call["name"])
        equal(json.loads(found["arguments"]), json.loads(call["arguments"]))
        check(found["id"], "the call has an id")
    answer = ask(target, messages + [message, {"role": "tool", "tool_call_id": found["id"], "content": "1301"}], tools=tools)
    check("1301" in answer.choices[0].message.content, answer.choices[0].message.content)
    check("DSML" not in answer.choices[0].message.content, "no markup")


@test
def obeys_tool_choice(target):
    messages, tools, _ = target.question("e216")
    none = ask(target, messages, tools=tools, tool_choice="none", max_tokens=40)
    check(not none.choices[0].message.tool_calls, "none means none")
    for choice in ("required", {"type": "function", "function": {"name": "calculator"}}):
        reply = ask(target, user("Repeat: 20 277"), tools=tools, tool_choice=choice)
        check(reply.choices[0].message.tool_calls, f"{choice}: a call")
        call = reply.choices[0].message.tool_calls[0].function
        equal(call.name, "calculator")
        check(isinstance(json.loads(call.arguments), dict), "arguments are an object")


@test
def gives_schema_conforming_json(target):
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12},
                                               "size": {"enum": ["small", "large"]},
                                               "n": {"type": "integer", "minimum": 0, "maximum": 99}},
              "required": ["name", "size", "n"], "additionalProperties": False}
    for stream in (False, True):
        for seed in range(3):
            reply = ask(target, user("Describe a lamp."), temperature=1.5, seed=seed, stream=stream, response_format={
                "type": "json_schema", "json_schema": {"name": "thing", "schema": schema, "strict": True}})
            text = "".join(c.choices[0].delta.content or "" for c in reply if c.choices) if stream else reply.choices[0].message.content
            value = json.loads(text)
            equal(set(value), {"name", "size", "n"})
            check(value["size"] in ("small", "large") and 0 <= value["n"] <= 99 and len(value["name"]) <= 12, text)
    free = ask(target, user("Describe a lamp."), temperature=1, seed=1, max_tokens=300, response_format={"type": "json_object"})
    if free.choices[0].finish_reason == "stop":
        check(isinstance(json.loads(free.choices[0].message.content), dict), free.choices[0].message.content)


@test
def reports_logprobs(target):
    messages, _, expected = target.question("e180")
    reply = ask(target, messages, logprobs=True, top_logprobs=3)
    tokens = reply.choices[0].logprobs.content
    equal(b"".join(bytes(t.bytes) for t in tokens), expected["content"].encode(), "bytes of the tokens")
    equal("".join(t.token for t in tokens), expected["content"], "tokens")
    for token in tokens:
        equal(len(token.top_logprobs), 3)
        check(token.logprob <= 0, "a logarithm of a probability")
        best = [t.logprob for t in token.top_logprobs]
        check(best == sorted(best, reverse=True), "best first")
        check(abs(best[0] - token.logprob) < 1e-5, "greedy takes the best")


@test
def gives_n_replies_and_repeats_them_for_a_seed(target):
    prompt = user("Write a short story about Ella and a blue map.")
    first = ask(target, prompt, n=3, seed=7, temperature=1, max_tokens=30)
    again = ask(target, prompt, n=3, seed=7, temperature=1, max_tokens=30)
    texts = [c.message.content for c in sorted(first.choices, key=lambda c: c.index)]
    equal(texts, [c.message.content for c in sorted(again.choices, key=lambda c: c.index)])
    equal([c.index for c in first.choices], [0, 1, 2])
    other = ask(target, prompt, n=3, seed=8, temperature=1, max_tokens=30)
    check(texts != [c.message.content for c in other.choices], "another seed, other texts")
    chunks = list(ask(target, prompt, n=3, seed=7, temperature=1, max_tokens=30, stream=True))
    for i in range(3):
        equal("".join(c.choices[0].delta.content or "" for c in chunks if c.choices and c.choices[0].index == i), texts[i])


@test
def stops_at_strings_and_lengths(target):
    messages, _, expected = target.question("e144")
    reply = ask(target, messages, stop=[" 356"])
    equal(reply.choices[0].message.content, expected["content"].split(" 356")[0])
    equal(reply.choices[0].finish_reason, "stop")
    short = ask(target, messages, max_completion_tokens=3, max_tokens=openai.NOT_GIVEN)
    equal(short.choices[0].finish_reason, "length")
    equal(short.usage.completion_tokens, 3)


@test
def counts_what_came_from_the_cache(target):
    story = "Hugo has a small house near the beach. One evening, Hugo found a green lamp. " * 12
    messages = user(story + "\n\nWhat did Hugo find?")
    first = ask(target, messages)
    messages += [{"role": "assistant", "content": first.choices[0].message.content}, *user("Where does Hugo live?")]
    second = ask(target, messages)
    usage = second.usage
    check(usage.prompt_tokens_details.cached_tokens >= 0.9 * first.usage.prompt_tokens,
          f"{usage.prompt_tokens_details.cached_tokens} of {first.usage.prompt_tokens}")
    again = ask(target, messages)
    equal(again.choices[0].message.content, second.choices[0].message.content, "cached and not")


@test
def completes_text(target):
    prompt = target.cases["e198"]["prompt"]
    found = client(target).completions.create(model=model(target), prompt=prompt, temperature=0, max_tokens=20)
    equal(found.choices[0].text, "rivière")
    equal(found.choices[0].finish_reason, "stop")
    ids = client(target).completions.create(model=model(target), prompt=target.cases["e198"]["prompt_ids"], temperature=0, max_tokens=20)
    equal(ids.choices[0].text, "rivière")
    two = client(target).completions.create(model=model(target), prompt=[prompt, prompt], temperature=0, max_tokens=20)
    equal([c.text for c in two.choices], ["rivière"] * 2)
    parts = client(target).completions.create(model=model(target), prompt=prompt, temperature=0, max_tokens=20, stream=True)
    equal("".join(c.choices[0].text for c in parts if c.choices), "rivière")


@test
def says_what_is_wrong(target):
    def fails(kind, **options):
        return raises(kind, lambda: ask(target, **{"messages": user("x"), **options}))

    equal(fails(openai.BadRequestError, temperature=3).param, "temperature")
    equal(fails(openai.BadRequestError, messages=[]).param, "messages")
    role = fails(openai.BadRequestError, messages=[*user("x"), {"role": "king", "content": "x"}])
    equal(role.param, "messages[1].role")
    image = {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}
    check(fails(openai.BadRequestError, messages=[image]).param.startswith("messages[0].content[1]"), "path of a part")
    fails(openai.BadRequestError, n=0)
    fails(openai.BadRequestError, top_logprobs=2)
    fails(openai.BadRequestError, extra_body={"no_such_parameter": 1})
    unsupported = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": {"type": "object", "properties": {"a": {"not": {}}}}}}
    check("schema" in fails(openai.BadRequestError, response_format=unsupported).param, "path of a keyword")
    error = raises(openai.NotFoundError, lambda: client(target).chat.completions.create(model="other", messages=user("x")))
    equal(error.code, "model_not_found")
    raises(openai.AuthenticationError, lambda: client(target, api_key="sk-wrong").models.list())
    long = raises(openai.BadRequestError, lambda: ask(target, user("word " * 20000)))
    equal(long.code, "context_length_exceeded")
    check(ask(target, user("Repeat: 1 2 3")).choices[0].message.content, "and goes on")


@test
def refuses_bodies_that_are_too_large(target):
    error = raises(openai.APIStatusError, lambda: ask(target, user("x" * (80 << 20))))
    equal(error.status_code, 413)


@test
def hides_prefixes_of_one_key_from_another(target):
    messages = user("A secret that only one tenant knows: " + "green lamp " * 60)
    ask(target, messages, max_tokens=5)
    other = client(target, api_key=OTHER_KEY).chat.completions.create(model=model(target), messages=messages, max_tokens=5)
    equal(other.usage.prompt_tokens_details.cached_tokens, 0, "cached tokens of another key")


@test
def stops_computing_when_the_client_leaves(target):
    stream = ask(target, user("Write a short story about Ella and a blue map."), max_tokens=2000, temperature=1,
                 extra_body={"logit_bias": {"1": -100}}, stream=True)
    next(iter(stream))
    stream.close()
    check(ask(target, user("Repeat: 1 2 3")).choices[0].message.content, "the next one is answered")
