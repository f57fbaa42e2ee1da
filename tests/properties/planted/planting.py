"""A bug to plant in a script, and the story that must fail with it."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mallard_engine.storage.scripts import Script, all_scripts
from tests.properties.mallard import Mallard

Story = Callable[[Mallard], None]


def with_bug(name: str, changes: Sequence[tuple[str, str]]) -> Mapping[str, Script]:
    """The package's scripts with changes to one; each old text must occur exactly once."""
    script = all_scripts()[name]
    text = script.source.decode()
    for old, new in changes:
        assert text.count(old) == 1, f"{name}.lua does not contain {old!r} exactly once"
        text = text.replace(old, new)
    source = text.encode()
    sha = hashlib.sha1(source, usedforsecurity=False).hexdigest().encode()
    return {**all_scripts(), name: replace(script, source=source, sha=sha)}


@dataclass(frozen=True)
class Planted:
    """A bug in a script, as ``changes`` of its text; each old text must occur exactly once."""

    name: str
    script: str
    changes: tuple[tuple[str, str], ...]
    story: Story
    max_run_jobs: int = 1

    def scripts(self) -> Mapping[str, Script]:
        return with_bug(self.script, self.changes)
