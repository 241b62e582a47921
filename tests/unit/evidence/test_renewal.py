"""Renewal planning (R037): which kind, when, and why."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from archive_service.digests import DigestAlgorithm
from archive_service.errors import ConfigurationInvalid
from archive_service.evidence.algorithms import AlgorithmPolicy, SignatureLimit, load_algorithm_policy
from archive_service.evidence.checks import Indication
from archive_service.evidence.evidence_record_verify import verify_evidence_record
from archive_service.evidence.local_tsa import create_local_tsa
from archive_service.evidence.renewal import (
    DEFAULT_LEAD,
    EvidenceLifetime,
    RenewalKind,
    RenewalPlan,
    RenewalState,
    lifetime_of,
    plan_renewal,
    replacement_digest,
)
from tests.unit.evidence.sealing import SHA256, SHA512, objects_of, renewed_timestamps, renewed_trees, seal

T0 = datetime(2026, 11, 22, tzinfo=UTC)
POLICY = AlgorithmPolicy(
    version="test",
    digests={"sha256": date(2032, 12, 31), "sha512": date(2040, 12, 31)},
    signatures=(
        SignatureLimit(algorithm="ec", min_bits=256, secure_until=date(2035, 12, 31)),
        SignatureLimit(algorithm="rsa", min_bits=2048, secure_until=date(2028, 12, 31)),
        SignatureLimit(algorithm="rsa", min_bits=3000, secure_until=date(2035, 12, 31)),
    ),
)
LIFETIME = EvidenceLifetime(
    hash_name="sha256",
    expires_at=datetime(2030, 6, 30, tzinfo=UTC),
    key_algorithm="ec",
    key_bits=256,
    signature_hash_name="sha256",
)


def codes(plan: RenewalPlan) -> list[str]:
    return [reason.code for reason in plan.reasons]


@pytest.mark.parametrize(
    ("at", "state"),
    [
        (T0, RenewalState.NOT_DUE),
        (datetime(2030, 6, 30, tzinfo=UTC) - DEFAULT_LEAD - timedelta(seconds=1), RenewalState.NOT_DUE),
        (datetime(2030, 6, 30, tzinfo=UTC) - DEFAULT_LEAD, RenewalState.DUE),
        (datetime(2030, 6, 30, tzinfo=UTC), RenewalState.DUE),
        (datetime(2030, 6, 30, 0, 0, 1, tzinfo=UTC), RenewalState.OVERDUE),
    ],
)
def test_a_certificate_that_expires(at: datetime, state: RenewalState) -> None:
    plan = plan_renewal(LIFETIME, policy=POLICY, at=at)
    assert (plan.kind, plan.state, plan.ends_at) == (RenewalKind.TIMESTAMP, state, LIFETIME.expires_at)
    assert codes(plan) == ["EVIDENCE_RENEWAL_CERTIFICATE_EXPIRES"]


def test_a_signature_key_that_ends_first() -> None:
    plan = plan_renewal(replace(LIFETIME, key_algorithm="rsa", key_bits=2048), policy=POLICY, at=T0)
    assert (plan.kind, plan.ends_at.date()) == (RenewalKind.TIMESTAMP, date(2028, 12, 31))
    assert codes(plan) == ["EVIDENCE_RENEWAL_SIGNATURE_ENDS"]
    longer = plan_renewal(replace(LIFETIME, key_algorithm="rsa", key_bits=4096), policy=POLICY, at=T0)
    assert codes(longer) == ["EVIDENCE_RENEWAL_CERTIFICATE_EXPIRES"]


def test_a_digest_that_ends_needs_the_data_again() -> None:
    late = replace(LIFETIME, expires_at=datetime(2036, 1, 1, tzinfo=UTC), signature_hash_name="sha512")
    plan = plan_renewal(late, policy=POLICY, at=T0)
    assert (plan.kind, plan.ends_at.date()) == (RenewalKind.HASH_TREE, date(2032, 12, 31))
    assert codes(plan) == ["EVIDENCE_RENEWAL_DIGEST_ENDS"]


def test_one_hashtree_renewal_serves_for_ends_close_together() -> None:
    close = replace(LIFETIME, expires_at=datetime(2032, 10, 1, tzinfo=UTC), signature_hash_name="sha512")
    plan = plan_renewal(close, policy=POLICY, at=T0)
    assert plan.kind is RenewalKind.HASH_TREE
    assert codes(plan) == ["EVIDENCE_RENEWAL_CERTIFICATE_EXPIRES", "EVIDENCE_RENEWAL_DIGEST_ENDS"]


@pytest.mark.parametrize(
    ("unknown", "kind"),
    [
        ({"expires_at": None}, RenewalKind.TIMESTAMP),
        ({"key_algorithm": None, "key_bits": None}, RenewalKind.TIMESTAMP),
        ({"key_algorithm": "rsa", "key_bits": 1024}, RenewalKind.TIMESTAMP),
        ({"signature_hash_name": "md5"}, RenewalKind.TIMESTAMP),
        ({"hash_name": "ripemd160"}, RenewalKind.HASH_TREE),
    ],
)
def test_what_is_not_known_to_hold_is_renewed_now(unknown, kind: RenewalKind) -> None:
    plan = plan_renewal(replace(LIFETIME, **unknown), policy=POLICY, at=T0)
    assert (plan.kind, plan.state) == (kind, RenewalState.DUE)
    assert codes(plan) == ["EVIDENCE_RENEWAL_END_UNKNOWN"]


@settings(deadline=None)
@given(st.integers(min_value=-3000, max_value=12_000).map(lambda days: T0 + timedelta(days=days)))
def test_state_never_goes_back_as_time_passes(at: datetime) -> None:
    order = [RenewalState.NOT_DUE, RenewalState.DUE, RenewalState.OVERDUE]
    now = plan_renewal(LIFETIME, policy=POLICY, at=at)
    later = plan_renewal(LIFETIME, policy=POLICY, at=at + timedelta(days=30))
    assert order.index(now.state) <= order.index(later.state)
    assert now.due_at < now.ends_at


def test_replacement_digest() -> None:
    assert replacement_digest(POLICY, at=T0) is DigestAlgorithm.SHA_512
    only_256 = replace(POLICY, digests={"sha256": date(2032, 12, 31)})
    assert replacement_digest(only_256, at=T0) is DigestAlgorithm.SHA_256
    with pytest.raises(ConfigurationInvalid, match="no digest algorithm"):
        replacement_digest(only_256, at=datetime(2032, 12, 1, tzinfo=UTC))


def test_following_the_plan_keeps_evidence_valid_for_decades() -> None:
    """Each plan is carried out on the day it is due, with ever new authorities; at the end one record proves the whole time."""
    policy = AlgorithmPolicy(
        version="test",
        digests={"sha512": date(2045, 12, 31), "sha256": date(2070, 12, 31)},
        signatures=(SignatureLimit(algorithm="ec", min_bits=256, secure_until=date(2070, 12, 31)),),
    )
    contents, at, anchors, kinds = [b"AIP"], T0, [], []
    tsa = create_local_tsa(valid_from=T0 - timedelta(days=1), years=6)
    anchors.append(tsa.root)
    record = seal([contents], tsa, T0, SHA512)[0]
    for _ in range(6):
        plan = plan_renewal(lifetime_of(record), policy=policy, at=at)
        at = max(at, plan.due_at)
        tsa = create_local_tsa(valid_from=at - timedelta(days=1), years=6, common_name=f"Authority of {at.year}")
        anchors.append(tsa.root)
        if plan.kind is RenewalKind.HASH_TREE:
            record = renewed_trees([record], [contents], tsa, at, SHA256)[0]
        else:
            record = renewed_timestamps([record], tsa, at)[0]
        kinds.append(plan.kind)
    result = verify_evidence_record(
        record.encoded, objects_of(contents), at=at + timedelta(days=365), anchors=anchors, policy=policy
    )
    assert (result.indication, result.reasons) == (Indication.PASSED, ())
    assert result.existed_at == T0
    assert at > T0 + timedelta(days=365 * 25)
    assert set(kinds) == {RenewalKind.TIMESTAMP, RenewalKind.HASH_TREE}


def test_the_shipped_policy_loads_and_a_broken_one_is_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_algorithm_policy().digest_until("sha256") is not None
    broken = tmp_path / "evidence" / "1" / "algorithms.toml"
    broken.parent.mkdir(parents=True)
    monkeypatch.setenv("ARCHIVE_PROFILES_DIR", str(tmp_path))
    for text in ("", "digest = 1", "[digest.sha256]\nsecure_until = 'soon'\n", "[["):
        broken.write_text(text)
        with pytest.raises(ConfigurationInvalid, match=r"algorithms\.toml"):
            load_algorithm_policy()
    with pytest.raises(ConfigurationInvalid):
        load_algorithm_policy("2")
