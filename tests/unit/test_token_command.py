"""`token create` refuses an agency no code can name: the token would be useless for ever."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from archive_service.cli import build_app


@pytest.mark.parametrize("agency", ["???", "", "H56 16", "xã Hoằng Hóa"])
def test_a_token_for_no_agency_is_refused(agency: str, tmp_path: Path) -> None:
    command = ["token", "create", "--role", "submitter", "--name", "cổng", "--agency", agency, "--data", str(tmp_path)]
    done = CliRunner().invoke(build_app(("people",)), command)
    assert done.exit_code == 2
    assert "not an agency code" in done.output
    assert not list(tmp_path.iterdir())
