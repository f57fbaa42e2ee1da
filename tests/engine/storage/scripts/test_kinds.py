"""The kinds of due entries and pushes are the same in the scripts and in Python."""

import re
from importlib import resources

from mallard_engine.ports import DueKind, PushKind
from mallard_engine.storage.scripts import script_files

_LIBRARY = resources.files("mallard_engine.storage") / "lua" / "lib"
_SOURCES = [
    file.read_text(encoding="utf-8")
    for file in (*script_files().values(), *_LIBRARY.iterdir())
    if file.name.endswith(".lua")
]
# A member of the due set: passed to `falls_due`, to a command on the set, or built for them.
_DUE = re.compile(r"(?:falls_due\w*\(|K\.due, (?:\w+, )?|member = |return )'(\w+)/'")
_DUE_BY_STATE = re.compile(r"DUE_KIND = \{(.*?)\}", re.DOTALL)
_PUSH = re.compile(r"(?:\b(?:push|send)\([^{}]*|body = cmsgpack\.pack\()\{ kind = '(\w+)'")


def test_due_kinds_in_lua_equal_those_in_python() -> None:
    kinds = {kind for source in _SOURCES for kind in _DUE.findall(source)}
    (by_state,) = [table for source in _SOURCES for table in _DUE_BY_STATE.findall(source)]
    kinds |= set(re.findall(r"'(\w+)'", by_state))
    assert kinds == set(DueKind) - {DueKind.UNKNOWN}


def test_push_kinds_in_lua_equal_those_in_python() -> None:
    kinds = {kind for source in _SOURCES for kind in _PUSH.findall(source)}
    assert kinds == set(PushKind) - {PushKind.UNKNOWN}
