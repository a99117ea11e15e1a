"""Settings in a YAML file: read with plain values only, and what is wrong said in one line."""

import re
import reprlib
from collections.abc import Mapping
from typing import Any

import yaml


class YamlError(Exception):
    """A text that holds no settings; the message is what was found."""


class _Settings(yaml.SafeLoader):
    """No tags of Python, no key twice, no aliases."""

    def compose_node(self, parent, index):
        # A few lines of aliases of aliases stand for more values than fit into memory.
        if self.check_event(yaml.AliasEvent):
            line = self.peek_event().start_mark.line + 1
            raise yaml.YAMLError(f"an alias in line {line}, where the value itself should stand")
        return super().compose_node(parent, index)

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = [key for key in keys if keys.count(key) > 1]
        if twice:
            line = node.start_mark.line + 1
            raise yaml.YAMLError(f"{twice[0]} twice in the section that begins in line {line}")
        return super().construct_mapping(node, deep)


def read_settings(text: str) -> Any:
    """Values of a YAML text.

    Raises
    ------
    YamlError
        It is not YAML, or holds a tag of Python, a key twice in a section, or an alias.
    """
    try:
        return yaml.load(text, _Settings)
    # The last two come of too many brackets, and of dates that are none.
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise YamlError(" ".join(str(error).split())) from None


def said(problem: Mapping[str, Any]) -> str:
    """Say what Pydantic has found wrong with a setting, of those that an error of it lists."""
    key = ".".join(str(part) for part in problem["loc"]) or "profile"
    if problem["type"] == "extra_forbidden":
        return f"{key}: expected a known key, found another; remove it or check its spelling"
    if problem["type"] == "missing":
        return f"{key}: expected this key, found none; add it"
    message = " ".join(problem["msg"].split()).removeprefix("Value error, ")
    message = re.sub("^Input should be ", "expected ", message)
    return f"{key}: {message}, found {reprlib.repr(problem['input'])}; correct it"
