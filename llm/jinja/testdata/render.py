"""Renders templates with Jinja itself, set as Hugging Face's transformers sets it.

    python3 render.py CASES.json RESULTS.json

CASES.json is [{"template": TEXT, "variables": {…}}, …]; RESULTS.json becomes as long a list of texts, null where rendering
fails.
"""

import json
import sys

from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(Extension):
    """{% generation %} … {% endgeneration %}: what is between."""

    tags = {"generation"}

    def parse(self, parser):
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def raise_exception(message):
    raise ValueError(message)


environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, ensure_ascii=False, indent=indent)
environment.globals["raise_exception"] = raise_exception


def render(case):
    try:
        return environment.from_string(case["template"]).render(**case["variables"])
    except Exception:
        return None


with open(sys.argv[1], encoding="utf-8") as file:
    cases = json.load(file)
with open(sys.argv[2], "w", encoding="utf-8") as file:
    json.dump([render(case) for case in cases], file)
