"""Converts structs to JSON Schema components for the generated documents."""

from collections.abc import Mapping
from inspect import cleandoc
from types import MappingProxyType
from typing import Any, Final

import msgspec

REF: Final = "#/components/schemas/"
_FIX: Final = "Fix"


def schemas(
    structs: tuple[type, ...],
    *,
    draft: str = "2020-12",
    names: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the JSON Schemas of structs and of their parts, by name.

    Args:
        structs: the structs.
        draft: the JSON Schema draft; `07` for AsyncAPI, whose schemas are a superset of it.
        names: the schema names of structs that do not use their own name.
    """
    _, components = msgspec.json.schema_components(structs, ref_template=REF + "{name}")
    cleaning = _Cleaning(draft, names)
    cleaned = {names.get(name, name): cleaning.clean(schema) for name, schema in components.items()}
    return dict(sorted({**cleaned, **cleaning.named}.items()))


class _Cleaning:
    """Rewrites msgspec's schemas so that every code generator can read them, with named parts."""

    def __init__(self, draft: str, names: Mapping[str, str]) -> None:
        self._draft = draft
        self._names = names
        self.named: dict[str, Any] = {}

    def clean(self, node: Any) -> Any:
        """Return a schema, or a part of one, cleaned; tuples become schemas of their own."""
        if isinstance(node, list | tuple):
            return [self.clean(item) for item in node]
        if isinstance(node, str):
            # Python's look-ahead in our patterns, and the code marks and the indentation of our
            # docstrings, which Python strips from 3.13 on.
            return cleandoc(node).replace(r"(?!\n)", "").replace("``", "`")
        if not isinstance(node, dict):
            return node
        cleaned = {name: self.clean(value) for name, value in node.items()}
        if isinstance(reference := cleaned.get("$ref"), str):
            name = reference.removeprefix(REF)
            cleaned["$ref"] = REF + self._names.get(name, name)
        if cleaned.get("type") == "integer":
            # 32 bits are too few for epoch milliseconds or bytes.
            cleaned["format"] = "int64"
        return self._fix(cleaned) if "prefixItems" in cleaned else cleaned

    def _fix(self, cleaned: dict[str, Any]) -> dict[str, Any]:
        """Move the contract's only tuple type to a schema of its own.

        `minItems` and `maxItems` give its length, because generators fail on an `items` that is not
        a schema.
        """
        places = ", ".join(place["title"] for place in cleaned["prefixItems"])
        if self._draft == "07":
            cleaned["items"] = cleaned.pop("prefixItems")
        else:
            cleaned["items"] = {"type": ["number", "null"]}
        cleaned["description"] = f"A position fix: {places}"
        self.named[_FIX] = cleaned
        return {"$ref": REF + _FIX}
