"""Checks texts that dsv4 drew from JSON schemas with the public validator.

Usage: check_schemas.py < lines of sample_schemas
"""
import json
import sys

import jsonschema

# Properties of patterns that Python's regular expressions do not have.
UNKNOWN_PATTERNS = ("\\p{",)
# White space as ECMA 262 and so JSON schemas understand it.
SPACES = "[\\t-\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff]"
# Keywords of other versions of the standard.
NULLABLE = '"nullable"'


def main():
    n_bad = n = n_skipped = 0
    names = set()
    for line in sys.stdin:
        item = json.loads(line)
        schema = item["schema"]
        text = json.dumps(schema)
        if NULLABLE in text or any(p in text.replace("\\\\", "\\") for p in UNKNOWN_PATTERNS):
            n_skipped += 1
            continue
        schema = json.loads(text.replace('"^\\\\s*$"', json.dumps("^%s*$" % SPACES)))
        old = "additionalItems" in text
        cls = jsonschema.Draft7Validator if old else jsonschema.Draft202012Validator
        n += 1
        names.add(item["name"])
        try:
            value = json.loads(item["text"])
            error = next(cls(schema, format_checker=cls.FORMAT_CHECKER).iter_errors(value), None)
        except ValueError as found:
            error = found
        if error is not None:
            n_bad += 1
            print("%s: %s\n  %s" % (item["name"], error, item["text"]))
    print("%d texts of %d schemas, %d do not validate; %d skipped" % (n, len(names), n_bad, n_skipped))
    return 1 if n_bad or not n else 0


sys.exit(main())
