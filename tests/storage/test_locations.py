"""Locations and policies: what is accepted, what is refused, and what the default is."""

from pathlib import Path
from typing import Any

import pytest

from archive_service.errors import ConfigurationInvalid
from archive_service.storage.filesystem import FilesystemStore
from archive_service.storage.locations import (
    CredentialsRef,
    LocationKind,
    LockMode,
    default_layout,
    default_locations,
    load_layout,
    open_store,
    parse_layout,
    parse_locations,
)
from archive_service.storage.s3 import S3Store

FOLDER: dict[str, Any] = {"name": "kho-1", "kind": "filesystem", "path": "/srv/kho-1"}
BUCKET: dict[str, Any] = {
    "name": "s3-hcm",
    "kind": "s3",
    "bucket": "luu-tru",
    "endpoint_url": "http://127.0.0.1:1",
    "credentials": {"access_key_env": "KHO_KEY", "secret_key_env": "KHO_SECRET"},
    "lock_mode": "COMPLIANCE",
}


def test_the_default_is_two_folders_both_verified(tmp_path: Path) -> None:
    first, second = default_locations(tmp_path)
    assert [first.name, second.name] == ["kho-1", "kho-2"]
    assert [first.path, second.path] == [tmp_path / "storage" / "kho-1", tmp_path / "storage" / "kho-2"]
    policy = default_layout(tmp_path).policy_for(4)
    assert policy.copies == policy.verified_before_stored == ("kho-1", "kho-2")
    assert policy.lagging == ()


def test_stores_open_by_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KHO_KEY", "key")
    monkeypatch.setenv("KHO_SECRET", "secret")
    store = open_store(default_locations(tmp_path)[0])
    assert isinstance(store, FilesystemStore)
    assert (store.name, (tmp_path / "storage" / "kho-1").is_dir()) == ("kho-1", True)
    (bucket,) = parse_locations([BUCKET])
    assert isinstance(open_store(bucket), S3Store)
    assert (bucket.kind, bucket.lock_mode) == (LocationKind.S3, LockMode.COMPLIANCE)


def test_a_toml_file(tmp_path: Path) -> None:
    file = tmp_path / "storage.toml"
    file.write_text(
        """
        [[locations]]
        name = "kho-1"
        kind = "filesystem"
        path = "/srv/kho-1"
        access_levels = [1, 2]
        [[locations]]
        name = "kho-2"
        kind = "filesystem"
        path = "/srv/kho-2"
        [[locations]]
        name = "s3-xa"
        kind = "s3"
        bucket = "luu-tru"
        credentials = { access_key_env = "KHO_KEY", secret_key_file = "/run/secrets/kho" }
        [[policies]]
        name = "thuong"
        copies = ["kho-1", "kho-2", "s3-xa"]
        lagging = ["s3-xa"]
        access_levels = [1, 2]
        [[policies]]
        name = "mat"
        copies = ["kho-2"]
        access_levels = [3, 4]
        """,
        encoding="utf-8",
    )
    layout = load_layout(file)
    assert layout.policy_for(1).verified_before_stored == ("kho-1", "kho-2")
    assert layout.policy_for(4).copies == ("kho-2",)
    assert layout.locations["s3-xa"].credentials.access_key_env == "KHO_KEY"


def test_without_policies_every_location_gets_a_verified_copy() -> None:
    layout = parse_layout({"locations": [FOLDER, BUCKET]})
    assert layout.policy_for(1).verified_before_stored == ("kho-1", "s3-hcm")


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({}, "at least one location"),
        ({"places": []}, "unknown"),
        ({"locations": [{**FOLDER, "colour": "red"}]}, "colour"),
        ({"locations": [{**FOLDER, "kind": "tape"}]}, "kind"),
        ({"locations": [{**FOLDER, "name": "Kho 1"}]}, "names are"),
        ({"locations": [{**FOLDER, "path": None}]}, "needs a path"),
        ({"locations": [{**BUCKET, "bucket": ""}]}, "needs a bucket"),
        ({"locations": [{**BUCKET, "lock_mode": "MAYBE"}]}, "lock_mode"),
        ({"locations": [{**BUCKET, "read_timeout_s": 0}]}, "above zero"),
        ({"locations": [{**BUCKET, "credentials": {}}]}, "name its credentials"),
        ({"locations": [{**FOLDER, "access_levels": [5]}]}, "access levels"),
        ({"locations": [{**FOLDER, "access_levels": []}]}, "access levels"),
        ({"locations": [FOLDER, FOLDER]}, "share a name"),
        ({"locations": "kho-1"}, "list of tables"),
        ({"locations": [{**FOLDER, "lock_horizon_years": 0}]}, "lock_horizon_years"),
        ({"locations": [{**FOLDER, "tier": "cellar"}]}, "tier"),
        ({"locations": [{**FOLDER, "name": "k" * 61}]}, "at most 60"),
        ({"locations": [FOLDER], "policies": [{"name": "p", "copies": ["kho-1"], "minimum_copies": 2}]}, "minimum"),
        ({"locations": [FOLDER], "policies": [{"name": "p", "copies": ["kho-1"], "access_levels": [7]}]}, "1 to 4"),
        ({"locations": [FOLDER], "policies": [{"name": "p", "copies": ["kho-9"]}]}, "no location 'kho-9'"),
        ({"locations": [FOLDER], "policies": [{"name": "p", "copies": ["kho-1", "kho-1"]}]}, "each once"),
        (
            {"locations": [FOLDER], "policies": [{"name": "p", "copies": ["kho-1"], "lagging": ["kho-1"]}]},
            "at least one",
        ),
        ({"locations": [FOLDER], "policies": [{"name": "p", "copies": ["kho-1"], "lagging": ["x"]}]}, "only name"),
        (
            {"locations": [{**FOLDER, "access_levels": [1, 2]}], "policies": [{"name": "p", "copies": ["kho-1"]}]},
            r"may not hold levels \[3, 4\]",
        ),
        (
            {
                "locations": [FOLDER],
                "policies": [
                    {"name": "p", "copies": ["kho-1"]},
                    {"name": "q", "copies": ["kho-1"], "access_levels": [4]},
                ],
            },
            "two policies",
        ),
    ],
)
def test_what_does_not_make_sense_is_refused(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=said):
        parse_layout(raw)


def test_everything_that_is_wrong_is_told_at_once() -> None:
    raw = {
        "places": 1,
        "locations": [
            {**FOLDER, "path": None, "access_levels": [9]},
            {**BUCKET, "lock_mode": "MAYBE", "colour": "red"},
            {**FOLDER, "name": "kho-2"},
            {**FOLDER, "name": "kho-2"},
        ],
        "policies": [
            {"name": "p", "copies": ["kho-1", "s3-hcm", "kho-9"]},
            {"name": "q", "copies": ["kho-2", "kho-2"], "lagging": ["kho-8"]},
            {"name": "r", "copies": ["kho-2"], "access_levels": [4]},
        ],
    }
    with pytest.raises(ConfigurationInvalid) as caught:
        parse_layout(raw)
    problems = caught.value.fields["problems"]
    for said in ("places", "needs a path", "access levels", "lock_mode", "colour", "share a name", "'kho-9'"):
        assert said in str(problems), said
    assert "each once" in str(problems)
    assert "two policies" in str(problems)
    assert "no location 'kho-1'" not in str(problems), "a wrong entry is not also called missing"


def test_what_is_not_verified_before_stored_comes_later() -> None:
    policy = {"name": "p", "copies": ["kho-1", "s3-hcm"], "verified_before_stored": ["kho-1"]}
    layout = parse_layout({"locations": [{**FOLDER, "tier": "nearline"}, BUCKET], "policies": [policy]})
    assert layout.policy_for(1).verified_before_stored == ("kho-1",)
    assert layout.policy_for(1).minimum_copies == 2
    assert layout.locations["kho-1"].tier == "nearline"


def test_a_level_without_policy_is_not_guessed() -> None:
    policies = [{"name": "p", "copies": ["kho-1"], "access_levels": [1, 2]}]
    with pytest.raises(ConfigurationInvalid, match="access level 3"):
        parse_layout({"locations": [FOLDER], "policies": policies}).policy_for(3)


@pytest.mark.parametrize("text", ["locations = 3", "[[locations", "\xff"])
def test_an_unreadable_file_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "storage.toml"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(ConfigurationInvalid, match=r"storage\.toml"):
        load_layout(file)
    with pytest.raises(ConfigurationInvalid, match=r"missing\.toml"):
        load_layout(tmp_path / "missing.toml")


def test_credentials_come_from_where_they_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "secret").write_text(" s3cret\n", encoding="utf-8")
    monkeypatch.setenv("KHO_KEY", "key")
    named = CredentialsRef(access_key_env="KHO_KEY", secret_key_file=tmp_path / "secret")
    assert named.resolve() == ("key", "s3cret")
    assert CredentialsRef().resolve() is None
    for wrong in (
        CredentialsRef(access_key_env="KHO_KEY"),
        CredentialsRef(access_key_env="KHO_KEY", secret_key_env="KHO_MISSING"),
        CredentialsRef(access_key_env="KHO_KEY", secret_key_file=tmp_path / "missing"),
    ):
        with pytest.raises(ConfigurationInvalid):
            wrong.resolve()
