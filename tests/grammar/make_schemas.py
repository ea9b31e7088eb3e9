#!/usr/bin/env python3
"""Writes random JSON schemas with values that satisfy them and values that do not, as JSON lines.

Usage: make_schemas.py N > tests/grammar/data/generated.jsonl

The values come from the schemas' definitions alone: properties in the declared order, as replies
have them. What breaks a value is known by how it was made.
"""
import json
import random
import sys

NAMES = ["id", "name", "kind", "value", "items", "note", "ok", "size", "to", "from", "größe", "a b"]
PATTERNS = [
    ("^[a-f]{2,5}$", lambda r: "".join(r.choices("abcdef", k=r.randint(2, 5))), "xyz"),
    (r"^\d{4}-\d{2}$", lambda r: "%04d-%02d" % (r.randint(0, 9999), r.randint(0, 99)), "12-34"),
    ("^(yes|no|maybe)$", lambda r: r.choice(["yes", "no", "maybe"]), "never"),
    (r"^[A-Z]\w*$", lambda r: r.choice("ABC") + "".join(r.choices("xyz_09", k=r.randint(0, 4))), "a"),
]


def make_integer(r):
    low = r.randint(-1000, 1000)
    high = low + r.randint(0, 10 ** r.randint(0, 4))
    schema = {"type": "integer", "minimum": low, "maximum": high}
    return schema, lambda: r.randint(low, high), lambda: r.choice([low - 1, high + 1, "1", None])


def make_number(r):
    low = r.randint(-400, 400) / 4
    high = low + r.randint(1, 40) / 4
    schema = {"type": "number", "minimum": low, "exclusiveMaximum": high}
    return (schema, lambda: low + (high - low) * r.randint(0, 7) / 8,
            lambda: r.choice([low - 0.25, high, "x", []]))


def make_string(r):
    low = r.randint(0, 4)
    high = low + r.randint(0, 6)
    schema = {"type": "string", "minLength": low, "maxLength": high}
    return (schema, lambda: "".join(r.choices("ab\"\\\n 日é😀", k=r.randint(low, high))),
            lambda: r.choice(["x" * (high + 1), 7, None]))


def make_pattern(r):
    pattern, good, bad = r.choice(PATTERNS)
    return {"type": "string", "pattern": pattern}, lambda: good(r), lambda: r.choice([bad, 1, ""])


def make_enum(r):
    values = r.sample(["x", "xy", "", "é", 0, 17, -3, None, True, 2.5, "null"], r.randint(1, 5))
    return {"enum": values}, lambda: r.choice(values), lambda: r.choice(["other", 99, [1]])


def make_word(r):
    kind = r.choice(["boolean", "null"])
    return ({"type": kind}, lambda: None if kind == "null" else r.random() < 0.5,
            lambda: r.choice([0, "true", [], {}]))


def make_array(r, depth, defs):
    item, good, bad = make(r, depth - 1, defs)
    low = r.randint(0, 2)
    high = low + r.randint(0, 3)
    schema = {"type": "array", "items": item, "minItems": low, "maxItems": high}

    def broken():
        if high > 0 and r.random() < 0.5:
            return [good() for _ in range(max(low, 1) - 1)] + [bad()]
        return [good() for _ in range(high + 1)]

    return schema, lambda: [good() for _ in range(r.randint(low, high))], broken


def make_object(r, depth, defs):
    names = r.sample(NAMES, r.randint(1, 5))
    parts = {name: make(r, depth - 1, defs) for name in names}
    required = [name for name in names if r.random() < 0.5]
    schema = {"type": "object", "properties": {name: parts[name][0] for name in names},
              "required": required, "additionalProperties": False}

    def good():
        return {n: parts[n][1]() for n in names if n in required or r.random() < 0.5}

    def broken():
        value = good()
        if required and r.random() < 0.4:
            del value[r.choice(required)]
        elif r.random() < 0.5:
            value["other"] = 1
        else:
            name = r.choice(names)
            value = {n: parts[n][2]() if n == name else parts[n][1]() for n in names}
        return value

    return schema, good, broken


def make_union(r, depth, defs):
    parts = [make_array(r, depth - 1, defs), make_object(r, depth - 1, defs), make_integer(r)]
    parts = r.sample(parts, r.randint(2, 3))
    key = r.choice(["anyOf", "oneOf"])
    return ({key: [p[0] for p in parts]}, lambda: r.choice(parts)[1](),
            lambda: r.choice([True, None, "none"]))


def make_ref(r, depth, defs):
    name = "d%d" % len(defs)
    defs[name] = {}
    schema, good, bad = make(r, depth - 1, defs)
    defs[name] = schema
    return {"$ref": "#/$defs/" + name}, good, bad


def make_tree(r, depth, defs):
    name = "t%d" % len(defs)
    defs[name] = {}
    leaf, good, bad = make_integer(r)
    ref = {"$ref": "#/$defs/" + name}
    defs[name] = {"type": "object", "properties": {"leaf": leaf, "kids": {"type": "array", "items": ref}},
                  "required": ["leaf"], "additionalProperties": False}

    def grow(n):
        tree = {"leaf": good()}
        if n > 0:
            tree["kids"] = [grow(n - 1) for _ in range(r.randint(0, 2))]
        return tree

    return ref, lambda: grow(3), lambda: {"leaf": good(), "kids": [{"leaf": bad()}]}


def make(r, depth, defs):
    leaves = [make_integer, make_number, make_string, make_pattern, make_enum, make_word]
    if depth <= 0:
        return r.choice(leaves)(r)
    kind = r.choice([make_array, make_object, make_object, make_union, make_ref, make_tree, None])
    return r.choice(leaves)(r) if kind is None else kind(r, depth, defs)


def main():
    r = random.Random(20)
    for i in range(int(sys.argv[1])):
        defs = {}
        schema, good, bad = make(r, 1 + i % 4, defs)
        if defs:
            schema = {"$defs": defs, **schema}
        line = {"name": "generated %d" % i, "schema": schema,
                "valid": [good() for _ in range(3)], "invalid": [bad() for _ in range(3)]}
        print(json.dumps(line, ensure_ascii=False))


main()
