"""Settings: where a value comes from, and every wrong one named at once."""

from pathlib import Path

import pytest

from archive_service.errors import ConfigurationInvalid
from archive_service.settings import Settings, load_settings


def test_precedence(tmp_path: Path) -> None:
    config = tmp_path / "archive.toml"
    config.write_text('archive_code = "from file"\nsystem_name = "from file"\nowner_name = "from file"\n')
    environ = {
        "ARCHIVE_CONFIG": str(config),
        "ARCHIVE_SYSTEM_NAME": "from environment",
        "ARCHIVE_OWNER_NAME": "as well",
    }
    settings = load_settings(environ, owner_name="given")
    assert (settings.archive_code, settings.system_name, settings.owner_name) == (
        "from file",
        "from environment",
        "given",
    )
    assert settings.archive_code != Settings().archive_code


def test_the_default_database_is_in_the_data_folder(tmp_path: Path) -> None:
    settings = load_settings({"ARCHIVE_DATA_DIR": str(tmp_path)})
    assert settings.resolved_database_url == f"sqlite:///{tmp_path / 'archive.db'}"
    assert settings.staging_dir == tmp_path / "staging"
    other = load_settings({"ARCHIVE_DATABASE_URL": "postgresql://archive@db/archive"})
    assert other.resolved_database_url == "postgresql://archive@db/archive"


def test_every_wrong_value_is_named_and_none_is_shown() -> None:
    environ = {"ARCHIVE_WORKERS": "secret-1", "ARCHIVE_CSIP_VERSION": "9"}
    with pytest.raises(ConfigurationInvalid) as refused:
        load_settings(environ)
    assert "workers" in refused.value.message
    assert "csip_version" in refused.value.message
    assert "secret-1" not in refused.value.message


@pytest.mark.parametrize("text", ["not = toml = at all", 'unknown_setting = "x"'])
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, text: str) -> None:
    config = tmp_path / "archive.toml"
    config.write_text(text)
    with pytest.raises(ConfigurationInvalid):
        load_settings({"ARCHIVE_CONFIG": str(config)})
    with pytest.raises(ConfigurationInvalid):
        load_settings({"ARCHIVE_CONFIG": str(tmp_path / "missing.toml")})


def test_the_database_password_stays_out_of_the_settings_text() -> None:
    assert "hunter2" not in repr(Settings(database_url="postgresql://archive:hunter2@db/archive"))
