"""Agreement with pyHanko's published tests on its own files (read in place, never copied)."""

import json
import os
from pathlib import Path

import pytest

from tests.conformance.run_corpus import as_text, run

HERE = Path(__file__).resolve().parent
CORPORA = Path(os.environ.get("ARCHIVE_CORPORA") or HERE.parents[2] / "shared" / "corpora")


def test_agreement_with_published_expectations(not_run, capsys: pytest.CaptureFixture[str]) -> None:
    folder = CORPORA / "pyhanko"
    if not folder.is_dir():
        not_run("corpus", f"no folder {folder.name} beside the checkout")
    agreement = run(folder, HERE / "signature_expectations.toml")
    with capsys.disabled():
        print("\n" + "\n".join(as_text(agreement)))  # noqa: T201 - the agreement rate is what this test is for
    assert agreement.judged
    assert not agreement.disagreements, json.dumps(agreement.as_json(), indent=1)
