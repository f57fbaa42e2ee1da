"""The generated pages under `docs/reference`: complete, and as committed."""

from pathlib import Path

import pytest

from mallard_engine.config.fields import flat_names
from mallard_engine.config.settings import Settings
from mallard_engine.core.policy import MarketPolicy
from mallard_engine.metrics import Metrics
from mallard_engine.reference import commands_page, main, metrics_page, settings_page


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


@pytest.mark.parametrize("command", ["serve", "config check", "token driver", "simulate fleet"])
def test_commands_page_has_a_section_for_each_command(command: str) -> None:
    assert f"\n## mallard {command}\n" in commands_page()


def test_commands_page_marks_required_options_and_repeats() -> None:
    page = commands_page()
    assert "| `--market M` | the drivers' market; required |" in page
    assert "| `ID...` |" in page


def test_metrics_page_has_a_row_for_each_exposed_metric() -> None:
    page = metrics_page()
    for family in Metrics().registry.collect():
        name = f"{family.name}_total" if family.type == "counter" else family.name
        assert page.count(f"| `{name}` | {family.type} |") == 1
