"""Settings in a YAML file: read with plain values only, and what is wrong said in one line."""

import re
import reprlib
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, ValidationError


def _word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", text, re.ASCII):
        raise ValueError(
            f"expected letters, digits, _, - and ., as a folder is called so, found {text!r}; give "
            "it such a name"
        )
    return text


Word = Annotated[str, AfterValidator(_word)]
"""A name that is no path, nor hidden, and that TensorFlow takes for a layer."""


class YamlError(Exception):
    """A file that holds no settings; the message is what was expected and found, and a remedy."""


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


def is_yaml_file(path: str) -> bool:
    """Whether a file is named as one of YAML: ``.yaml`` or ``.yml``."""
    return path.lower().endswith((".yaml", ".yml"))


def read_settings(content: bytes) -> dict[str, Any]:
    """Settings in a YAML file.

    Raises
    ------
    YamlError
        It is not YAML in UTF-8, holds a tag of Python, a key twice in a section, or an alias; or
        what it holds are no settings.
    """
    try:
        settings = yaml.load(content.decode("utf-8"), _Settings)
    # The last two come of too many brackets, and of dates or bytes that are none.
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        found = " ".join(str(error).split())
        raise YamlError(
            f"expected settings in YAML, found what cannot be read ({found}); correct it"
        ) from None
    if not isinstance(settings, dict):
        raise YamlError(
            f"expected a mapping of settings, found {type(settings).__name__}; begin with a copy "
            "of one of the profiles that the package has"
        )
    return settings


def said(error: YamlError | ValidationError) -> str:
    """Say in one line what is wrong with settings: the first thing that was found."""
    if isinstance(error, YamlError):
        return str(error)
    problem = error.errors()[0]
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"{key}: expected a known key, found another; remove it or check its spelling"
    if problem["type"] == "missing":
        return f"{key}: expected this key, found none; add it"
    message = " ".join(problem["msg"].split()).removeprefix("Value error, ")
    if problem["type"] == "value_error":
        # It says what is wrong with the settings together, which would fill the screen.
        return f"{f'{key}: ' if key else ''}{message}{'' if '; ' in message else '; correct it'}"
    if problem["type"] == "too_short":
        message = f"expected {problem['ctx']['min_length']} values or more"
    if problem["type"] == "too_long":
        message = f"expected {problem['ctx']['max_length']} values or fewer"
    message = re.sub("^Input should be ", "expected ", message)
    return f"{key}: {message}, found {reprlib.repr(problem['input'])}; correct it"
