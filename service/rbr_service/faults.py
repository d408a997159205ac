"""What pydantic found wrong, as a sentence for whoever wrote the value.

ErrorDetails -> "must be true or false"
"""

from collections.abc import Mapping
from typing import Any

_SENTENCES = {
    "extra_forbidden": "is not known here: remove it or mend its spelling",
    "string_type": "must be text",
    "string_unicode": "must be text without half characters (lone surrogates)",
    "string_pattern_mismatch": "must match the pattern {pattern}",
    "string_too_short": "must have {min_length} characters or more",
    "string_too_long": "must have {max_length} characters or fewer",
    "too_short": "must have {min_length} or more entries",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "literal_error": "must be {expected}",
    "dict_type": "must be a mapping, `key: value`",
    "model_type": "must be a mapping (an object) with named fields",
    "model_attributes_type": "must be a mapping (an object) with named fields",
    "list_type": "must be a list",
    "missing": "is missing: add it",
}


def sentence(fault: Mapping[str, Any]) -> str:
    """What is wrong with the value, to be read after its place."""
    known = _SENTENCES.get(fault["type"])
    if known:
        return known.format(**fault.get("ctx", {}))
    return str(fault["msg"]).removeprefix("Value error, ")
