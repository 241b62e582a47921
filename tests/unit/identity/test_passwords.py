"""The password policy as data, and hashing."""

import pytest

from archive_service.errors import BadRequest, ConfigurationInvalid
from archive_service.identity.passwords import hash_password, load_policy, needs_rehash, refuse_weak, verify_password


def test_the_policy_is_what_the_regulation_says() -> None:
    policy = load_policy()
    assert (policy.id, policy.min_length, policy.character_classes, policy.idle_disable_days) == ("qcvn12", 8, 4, 45)


@pytest.mark.parametrize("policy_id", ["none", "../formats", ""])
def test_no_other_folder_is_a_policy(policy_id: str) -> None:
    with pytest.raises(ConfigurationInvalid):
        load_policy(policy_id)


@pytest.mark.parametrize("password", ["Abcdef1!", "Mật khẩu 1", "ĐƯỜNG láng 9", "Aa1 " * 64])
def test_strong_enough(password: str) -> None:
    refuse_weak(load_policy(), password, username="lan")


@pytest.mark.parametrize(
    ("password", "reasons"),
    [
        ("", ["too-short", "too-few-classes"]),
        ("Abcde1!", ["too-short"]),
        ("abcdefg1!", ["too-few-classes"]),
        ("ABCDEFG1!", ["too-few-classes"]),
        ("Abcdefgh!", ["too-few-classes"]),
        ("Abcdefgh1", ["too-few-classes"]),
        ("Phạm-LAN-2026", ["contains-username"]),
        ("Aa1!" * 65, ["too-long"]),
    ],
)
def test_weak_passwords_are_refused_with_every_reason(password: str, reasons: list[str]) -> None:
    with pytest.raises(BadRequest) as refused:
        refuse_weak(load_policy(), password, username="lan")
    problems = refused.value.fields["problems"]
    assert [problem["reason"] for problem in problems] == reasons
    assert all(problem["vi"] and problem["en"] and "{" not in problem["vi"] + problem["en"] for problem in problems)


def test_hashing() -> None:
    first, second = hash_password("Mật khẩu 1"), hash_password("Mật khẩu 1")
    assert first != second, "each has its own salt"
    assert verify_password(first, "Mật khẩu 1")
    assert verify_password(first, "Mật khẩu 1"), "letters typed as base and mark"
    assert not verify_password(first, "Mat khau 1")
    assert not needs_rehash(first)


@pytest.mark.parametrize("stored", [None, "", "not a hash", "$argon2id$v=19$m=1$broken"])
def test_no_hash_is_no_entry(stored: str | None) -> None:
    assert not verify_password(stored, "")
