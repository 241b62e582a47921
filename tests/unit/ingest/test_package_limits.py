"""What a pushed ZIP may cost is what the settings say."""

from archive_service.ingest.packages import zip_limits
from archive_service.packaging.zip_reader import ZipLimits
from archive_service.settings import Settings


def test_limits_on_a_zip_follow_the_settings() -> None:
    settings = Settings(max_package_bytes=3_000_000, max_zip_ratio=7, max_dossier_json_bytes=4_000)
    assert zip_limits(settings) == ZipLimits(max_total_bytes=3_000_000, max_ratio=7, max_dossier_json_bytes=4_000)


def test_a_description_is_held_to_one_limit_however_it_is_pushed() -> None:
    assert zip_limits(Settings()).max_dossier_json_bytes == ZipLimits().max_dossier_json_bytes
