"""LangChain's client of the OpenAI API."""

from harness import check, equal, test
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from openai_chat import model


@tool
def calculator(expression: str) -> str:
    """Evaluate an arithmetic expression."""
    return {"1448 - 147": "1301"}.get(expression, "unknown")


def chat(target, **options):
    return ChatOpenAI(base_url=target.url + "/v1", api_key=target.key, model=model(target), temperature=0, max_retries=0, **options)


@test
def answers_and_streams(target):
    messages, _, expected = target.question("e091")
    reply = chat(target).invoke(messages[0]["content"])
    equal(reply.content, expected["content"])
    check(reply.usage_metadata["input_tokens"] > 0, "usage")
    parts = list(chat(target).stream(messages[0]["content"]))
    equal("".join(part.content for part in parts), expected["content"])
    check(len(parts) > 3, "in parts")
    both = chat(target).batch([messages[0]["content"]] * 3)
    equal([r.content for r in both], [expected["content"]] * 3)


@test
def runs_a_tool_in_a_loop(target):
    case, _, _ = target.question("e216")
    with_tools = chat(target).bind_tools([calculator])
    messages = [("system", case[0]["content"]), HumanMessage(case[1]["content"])]
    reply = with_tools.invoke(messages)
    equal([c["name"] for c in reply.tool_calls], ["calculator"])
    results = [ToolMessage(calculator.invoke(c["args"]), tool_call_id=c["id"]) for c in reply.tool_calls]
    answer = with_tools.invoke([*messages, reply, *results])
    check("1301" in answer.content, answer.content)


@test
def gives_structured_output(target):
    schema = {"title": "City", "description": "A city.", "type": "object", "properties": {"city": {"type": "string", "enum": ["Oslo", "Rome"]}},
              "required": ["city"], "additionalProperties": False}
    found = chat(target).with_structured_output(schema, method="json_schema", strict=True).invoke("Name a city.")
    check(found["city"] in ("Oslo", "Rome"), f"{found}")
