"""The Responses API through OpenAI's own package."""

import json

import openai
from harness import check, equal, raises, test
from openai_chat import client, model


def ask(target, **options):
    return client(target).responses.create(**{"model": model(target), "temperature": 0, "max_output_tokens": 200, **options})


def function(tool):
    return {"type": "function", "strict": False, **tool["function"]}


@test
def answers(target):
    messages, _, expected = target.question("e091")
    reply = ask(target, input=messages[0]["content"])
    equal(reply.output_text, expected["content"])
    equal((reply.object, reply.status), ("response", "completed"))
    check(reply.usage.input_tokens > 0 and reply.usage.output_tokens > 0, "usage")
    check([item.type for item in reply.output] == ["message"], "one message")
    with_system, _, expected = target.question("e090")
    reply = ask(target, instructions=with_system[0]["content"], input=[with_system[1]])
    equal(reply.output_text, expected["content"])


@test
def streams_events_in_order(target):
    messages, _, expected = target.question("e144")
    events = list(ask(target, input=messages[0]["content"], stream=True))
    kinds = [e.type for e in events]
    equal(kinds[0], "response.created")
    equal(kinds[-1], "response.completed")
    for kind in ("response.output_item.added", "response.content_part.added", "response.output_text.delta",
                 "response.output_text.done", "response.content_part.done", "response.output_item.done"):
        check(kind in kinds, f"{kind} in {kinds}")
    equal([e.sequence_number for e in events], list(range(len(events))), "sequence numbers")
    equal("".join(e.delta for e in events if e.type == "response.output_text.delta"), expected["content"])
    equal(events[-1].response.output_text, expected["content"])


@test
def goes_on_from_a_stored_response(target):
    first = ask(target, input="What is the French word for river?")
    equal(first.output_text, "rivière")
    second = ask(target, input="Translate to French: night", previous_response_id=first.id)
    equal(second.previous_response_id, first.id)
    check(second.usage.input_tokens > first.usage.input_tokens + first.usage.output_tokens, "it has what came before")
    check(second.usage.input_tokens_details.cached_tokens > 0, "from the cache")
    equal(client(target).responses.retrieve(first.id).output_text, "rivière")
    client(target).responses.delete(first.id)
    raises(openai.NotFoundError, lambda: client(target).responses.retrieve(first.id))
    raises((openai.NotFoundError, openai.BadRequestError), lambda: ask(target, input="x", previous_response_id=first.id))
    forgotten = ask(target, input="What is the French word for river?", store=False)
    raises((openai.NotFoundError, openai.BadRequestError), lambda: ask(target, input="x", previous_response_id=forgotten.id))


@test
def thinks_in_items_of_reasoning(target):
    messages, _, expected = target.question("e073")
    reply = ask(target, input=messages[0]["content"], reasoning={"effort": "high"})
    equal([item.type for item in reply.output], ["reasoning", "message"])
    equal(reply.output_text, expected["content"])
    check(reply.usage.output_tokens_details.reasoning_tokens > 0, "counted")


@test
def calls_a_tool_and_takes_its_result(target):
    messages, tools, expected = target.question("e216")
    tools = [function(t) for t in tools]
    options = {"instructions": messages[0]["content"], "tools": tools}
    reply = ask(target, input=messages[1]["content"], **options)
    call = next(item for item in reply.output if item.type == "function_call")
    equal(call.name, "calculator")
    equal(json.loads(call.arguments), json.loads(expected["tool_calls"][0]["arguments"]))
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "1301"}
    answer = ask(target, input=[result], previous_response_id=reply.id, **options)
    check("1301" in answer.output_text, answer.output_text)
    whole = ask(target, input=[{"role": "user", "content": messages[1]["content"]}, *reply.output, result], **options)
    equal(whole.output_text, answer.output_text, "with the items sent back")
    events = list(ask(target, input=messages[1]["content"], stream=True, **options))
    arguments = "".join(e.delta for e in events if e.type == "response.function_call_arguments.delta")
    equal(json.loads(arguments), json.loads(call.arguments))


@test
def gives_schema_conforming_json(target):
    schema = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}}, "required": ["city"], "additionalProperties": False}
    reply = ask(target, input="Name a city.", text={"format": {"type": "json_schema", "name": "city", "schema": schema, "strict": True}})
    check(json.loads(reply.output_text)["city"] in ("Oslo", "Rome"), reply.output_text)


@test
def says_what_is_wrong(target):
    error = raises(openai.BadRequestError, lambda: ask(target, input=[{"role": "king", "content": "x"}]))
    check(error.param.startswith("input[0]"), f"path {error.param}")
    equal(raises(openai.BadRequestError, lambda: ask(target, input="x", temperature=9)).param, "temperature")
    cut = ask(target, input="Write a short story about Ella and a blue map.", max_output_tokens=16)
    equal((cut.status, cut.incomplete_details.reason), ("incomplete", "max_output_tokens"))
