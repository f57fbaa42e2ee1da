"""The generated pages under `docs/reference`: complete, and as committed."""

from pathlib import Path

import pytest

from mallard_engine.config.fields import flat_names
from mallard_engine.config.settings import Settings
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.reference import main, settings_page


def test_committed_pages_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--check"])
    assert status == 0, capsys.readouterr().err


def test_check_names_a_missing_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check"], tmp_path) == 1
    assert "stale: settings.md" in capsys.readouterr().err
    assert main([], tmp_path) == 0
    assert main(["--check"], tmp_path) == 0


def test_settings_page_documents_every_setting_once() -> None:
    page = settings_page()
    settings = flat_names(Settings, leave_out=("policy", "markets"))
    for name in (*settings, *flat_names(MarketPolicy)):
        assert page.count(f"| `MALLARD_{name.upper()}` |") == 1, name
