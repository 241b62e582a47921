"""Accounts, tokens, browser sessions and the first administrator, on both engines."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import select

from archive_service.audit import events_of
from archive_service.db import Database
from archive_service.errors import BadRequest, Conflict, NotFound, NotPermitted, NotSignedIn
from archive_service.identity import accounts, sessions, setup, tokens
from archive_service.identity.accounts import Person, check_sign_in, create_account
from archive_service.identity.brake import SignInsPaused, sweep_brakes
from archive_service.identity.passwords import load_policy
from archive_service.identity.permissions import Grant, Permission
from archive_service.identity.sessions import SessionLimits, SignedIn, authenticate_session
from archive_service.ids import new_id
from archive_service.models import Account, ApiToken, BrowserSession, Event, EventType, RoleName, SetupLink, SignInBrake
from tests.builders import TESTER

PASSWORD = "Đường-Láng 2026"
LIMITS = SessionLimits.of(idle_min=60, max_h=12)
ARCHIVIST = Grant(role=RoleName.ARCHIVIST, agency="000.00.01.H40")


@pytest.fixture
def account_id(database: Database, at: datetime) -> UUID:
    with database.write() as session:
        person = Person(username="Lan.Pham", display_name="Phạm Thị Lan", position="Lưu trữ viên")
        account = create_account(
            session,
            person,
            password=PASSWORD,
            grants=[ARCHIVIST, ARCHIVIST],
            agent=TESTER,
            at=at,
            must_change_password=False,
        )
        return account.id


def _events(database: Database, account_id: UUID | str) -> list[tuple[EventType, str | None]]:
    with database.read() as session:
        return [(event.type, event.detail.get("reason")) for event in events_of(session, [("account", account_id)])]


def _sign_in(database: Database, at: datetime, password: str = PASSWORD, username: str = "lan.pham") -> UUID | None:
    return check_sign_in(database, username=username, password=password, at=at, source="192.0.2.7")


# ------------------------------------------------------------------ accounts


def test_an_account_and_its_event(database: Database, account_id: UUID) -> None:
    with database.read() as session:
        account = session.get_one(Account, account_id)
        assert (account.username, account.display_name, account.position) == (
            "lan.pham",
            "Phạm Thị Lan",
            "Lưu trữ viên",
        )
        assert account.password_hash.startswith("$argon2id$")
        assert accounts.grants_of(session, account_id) == (ARCHIVIST,), "the same role twice is one role"
        (event,) = events_of(session, [("account", account_id)])
        assert event.type is EventType.ACCOUNT_CREATED
        assert PASSWORD not in str(event.detail)


def test_a_user_name_is_taken_once_whatever_its_case(database: Database, account_id: UUID, at: datetime) -> None:
    person = Person(username="LAN.PHAM", display_name="X")
    with pytest.raises(Conflict), database.write() as session:
        create_account(session, person, password=PASSWORD, grants=[], agent=TESTER, at=at)
    with database.read() as session:
        assert session.scalars(select(Account.id)).all() == [account_id]


@pytest.mark.parametrize("username", ["", "a", "nguyễn", "a b", "../x", "x" * 101, "-x"])
def test_user_names_are_plain(database: Database, at: datetime, username: str) -> None:
    with pytest.raises(BadRequest), database.write() as session:
        create_account(
            session, Person(username=username, display_name="X"), password=PASSWORD, grants=[], agent=TESTER, at=at
        )


def test_signing_in(database: Database, account_id: UUID, at: datetime) -> None:
    assert _sign_in(database, at) == account_id
    assert _sign_in(database, at, username=" LAN.PHAM ") == account_id
    assert _sign_in(database, at, "Đường-Láng 2026") == account_id, "decomposed letters are the same letters"
    with database.read() as session:
        assert session.get_one(Account, account_id).last_signed_in_at == at


@pytest.mark.parametrize("password", ["", "wrong", "đường-láng 2026", "x" * 100_000])
def test_a_wrong_password_is_counted_and_recorded(
    database: Database, account_id: UUID, at: datetime, password: str
) -> None:
    assert _sign_in(database, at, password) is None
    assert _events(database, account_id)[1:] == [(EventType.ACCOUNT_SIGN_IN_FAILED, "wrong-password")]
    with database.read() as session:
        assert session.get_one(Account, account_id).failed_sign_ins == 1


def test_an_unknown_name_is_refused_without_being_recorded_itself(database: Database, at: datetime) -> None:
    assert _sign_in(database, at, username=PASSWORD) is None
    assert _events(database, "unknown") == [(EventType.ACCOUNT_SIGN_IN_FAILED, "unknown-name")]
    with database.read() as session:
        assert PASSWORD not in str(session.scalars(select(Event)).one().detail)


def test_guessing_locks_longer_and_longer(database: Database, account_id: UUID, at: datetime) -> None:
    policy = load_policy()
    now = at
    for _ in range(policy.failures_before_lock):
        assert _sign_in(database, now, "no") is None
    with pytest.raises(SignInsPaused) as waits:  # even the right password
        _sign_in(database, now)
    assert waits.value.fields == {"retry_after_s": policy.lock_s}
    now += timedelta(seconds=policy.lock_s)
    assert _sign_in(database, now, "no") is None
    with pytest.raises(SignInsPaused) as waits:  # the second lock is twice as long
        _sign_in(database, now + timedelta(seconds=policy.lock_s, milliseconds=1))
    assert waits.value.fields == {"retry_after_s": policy.lock_s}
    assert _sign_in(database, now + timedelta(seconds=2 * policy.lock_s)) == account_id
    with database.read() as session:
        locks = session.scalars(select(Event).where(Event.type == EventType.ACCOUNT_LOCKED).order_by(Event.seq)).all()
        assert [event.detail["lock_s"] for event in locks] == [policy.lock_s, 2 * policy.lock_s]
        account = session.get_one(Account, account_id)
        assert (account.failed_sign_ins, account.locked_until) == (0, None)


def _tries_until_paused(database: Database, at: datetime, username: str, *, source: str = "192.0.2.7") -> int:
    for number in range(100):
        try:
            assert check_sign_in(database, username=username, password="no", at=at, source=source) is None
        except SignInsPaused:
            return number
    raise AssertionError("never paused")


def test_a_name_that_is_no_account_waits_like_one(database: Database, account_id: UUID, at: datetime) -> None:
    policy = load_policy()
    assert _tries_until_paused(database, at, "lan.pham") == policy.failures_before_lock
    assert _tries_until_paused(database, at, PASSWORD) == policy.failures_before_lock
    with database.read() as session:
        kept = [(row.key, row.failed_sign_ins) for row in session.scalars(select(SignInBrake))]
        assert PASSWORD.lower() not in str(kept)
        assert len(kept) == 2, "the name and the source"
        assert _events(database, account_id)[-1] == (EventType.ACCOUNT_SIGN_IN_FAILED, "locked")


def test_a_source_that_guesses_many_names_waits(database: Database, account_id: UUID, at: datetime) -> None:
    policy = load_policy()
    near, far = "2001:db8::1", "2001:db8:0:1::1"
    for number in range(policy.source_failures_before_lock):
        assert check_sign_in(database, username=f"ten-{number}", password="no", at=at, source=near) is None
    with pytest.raises(SignInsPaused):
        check_sign_in(database, username="lan.pham", password=PASSWORD, at=at, source="2001:db8::ffff")
    assert check_sign_in(database, username="lan.pham", password=PASSWORD, at=at, source=far) == account_id
    later = at + timedelta(seconds=policy.lock_s)
    assert check_sign_in(database, username="lan.pham", password=PASSWORD, at=later, source=near) == account_id
    with database.read() as session:
        (lock,) = session.scalars(select(Event).where(Event.type == EventType.ACCOUNT_LOCKED)).all()
        assert lock.detail == {"lock_s": policy.lock_s, "failures": policy.source_failures_before_lock, "source": near}


def test_failures_are_forgotten_after_a_quiet_time_and_no_wait_lasts(
    database: Database, account_id: UUID, at: datetime
) -> None:
    policy = load_policy()
    quiet = timedelta(seconds=policy.failure_window_s + 1)
    now = at
    for _ in range(2 * policy.failures_before_lock):  # each a quiet time after the one before
        assert _sign_in(database, now, "no") is None
        now += quiet
    waits = []
    for _ in range(30):  # and without mercy
        try:
            assert _sign_in(database, now, "no") is None
        except SignInsPaused as refused:
            waits.append(refused.fields["retry_after_s"])
            now += timedelta(seconds=waits[-1])
    assert (min(waits), max(waits)) == (policy.lock_s, policy.lock_max_s)
    with database.read() as session:
        until = session.get_one(Account, account_id).locked_until
    assert until is not None
    assert until <= now + timedelta(seconds=policy.lock_max_s)
    assert _sign_in(database, until) == account_id
    with database.write() as session:
        assert sweep_brakes(session, at=now, policy=policy) == 0
        assert sweep_brakes(session, at=until + timedelta(days=1), policy=policy) == 1
        assert session.scalars(select(SignInBrake)).all() == []


def test_processes_that_guess_at_once_have_no_more_tries(database: Database, account_id: UUID, at: datetime) -> None:
    policy = load_policy()
    gate = threading.Barrier(4)

    def guess(_: int) -> int:
        gate.wait()
        refused = 0
        for _ in range(4):
            try:
                refused += _sign_in(database, at, "no") is None
            except SignInsPaused:
                continue
        return refused

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(guess, range(4))) == policy.failures_before_lock
    with database.read() as session:
        assert session.get_one(Account, account_id).failed_sign_ins == policy.failures_before_lock


def test_the_own_password_cannot_be_guessed_either(database: Database, account_id: UUID, at: datetime) -> None:
    policy = load_policy()
    for _ in range(policy.failures_before_lock):
        with pytest.raises(BadRequest):
            accounts.change_own_password(database, account_id, current="no", new="Hồ-Gươm 2027", at=at)
    with pytest.raises(SignInsPaused):
        accounts.change_own_password(database, account_id, current=PASSWORD, new="Hồ-Gươm 2027", at=at)
    with database.write() as session:
        accounts.set_password(session, account_id, PASSWORD, agent=TESTER, at=at)
    assert _sign_in(database, at) == account_id, "an administrator lifts the wait"


def test_a_lock_set_by_a_clock_that_ran_ahead_does_not_last(database: Database, account_id: UUID, at: datetime) -> None:
    ahead = at + timedelta(days=365)
    for _ in range(load_policy().failures_before_lock):
        _sign_in(database, ahead, "no")
    assert _sign_in(database, at) == account_id


def test_an_idle_account_is_disabled_at_its_next_sign_in(database: Database, account_id: UUID, at: datetime) -> None:
    idle = timedelta(days=load_policy().idle_disable_days)
    assert _sign_in(database, at + idle) == account_id
    assert _sign_in(database, at + idle + idle + timedelta(seconds=1)) is None
    assert _events(database, account_id)[-2:] == [
        (EventType.ACCOUNT_CHANGED, "idle"),
        (EventType.ACCOUNT_SIGN_IN_FAILED, "idle"),
    ]
    with database.write() as session:
        accounts.set_disabled(session, account_id, disabled=False, agent=TESTER, at=at + 3 * idle)
    assert _sign_in(database, at + 3 * idle) == account_id


def test_idle_accounts_are_disabled_by_the_daily_job(database: Database, account_id: UUID, at: datetime) -> None:
    with database.write() as session:
        assert accounts.disable_idle_accounts(session, at=at + timedelta(days=45)) == 0
        assert accounts.disable_idle_accounts(session, at=at + timedelta(days=46)) == 1
        assert accounts.disable_idle_accounts(session, at=at + timedelta(days=46)) == 0
    assert _events(database, account_id)[-1] == (EventType.ACCOUNT_CHANGED, "idle")


def test_changing_the_own_password_needs_the_present_one(database: Database, account_id: UUID, at: datetime) -> None:
    new = "Hồ-Gươm 2027"
    for current, chosen, reason in [
        ("no", new, "wrong"),
        (PASSWORD, PASSWORD, "unchanged"),
        (PASSWORD, "weak", "too-short"),
    ]:
        with pytest.raises(BadRequest) as refused:
            accounts.change_own_password(database, account_id, current=current, new=chosen, at=at)
        assert refused.value.fields["problems"][0]["reason"] == reason
    here, there = _open(database, account_id, at), _open(database, account_id, at)
    accounts.change_own_password(database, account_id, current=PASSWORD, new=new, at=at, keep_session=here.session_id)
    assert _who(database, here.cookie, at).principal.name == "Phạm Thị Lan"
    with pytest.raises(NotSignedIn):
        _who(database, there.cookie, at)
    assert _sign_in(database, at) is None
    assert _sign_in(database, at, new) == account_id
    with pytest.raises(NotFound):
        accounts.change_own_password(database, new_id(), current="a", new="b", at=at)


def test_roles_are_replaced_and_both_sides_recorded(database: Database, account_id: UUID, at: datetime) -> None:
    auditor = Grant(role=RoleName.AUDITOR, agency=None)
    with database.write() as session:
        accounts.set_grants(session, account_id, [auditor], agent=TESTER, at=at)
    with database.read() as session:
        principal = accounts.principal_of(session, session.get_one(Account, account_id))
        event = events_of(session, [("account", account_id)])[-1]
    assert (principal.grants, principal.access) == ((auditor,), frozenset({"01", "02"}))
    assert event.detail["before"] == [{"role": "archivist", "agency": "000.00.01.H40"}]
    assert event.detail["after"] == [{"role": "auditor", "agency": None}]


# ------------------------------------------------------------------ browser sessions


def _open(database: Database, account_id: UUID, at: datetime) -> sessions.OpenedSession:
    with database.write() as session:
        return sessions.open_session(session, account_id, at=at, limits=LIMITS)


def _who(database: Database, cookie: str, at: datetime) -> SignedIn:
    with database.read() as session:
        return authenticate_session(session, cookie, at, limits=LIMITS)


def test_a_session_from_sign_in_to_sign_out(database: Database, account_id: UUID, at: datetime) -> None:
    planted = _open(database, account_id, at).cookie
    opened = sessions.sign_in(
        database, username="lan.pham", password=PASSWORD, at=at, limits=LIMITS, old_cookie=planted
    )
    assert opened is not None
    assert opened.cookie != planted
    with pytest.raises(NotSignedIn):
        _who(database, planted, at)
    signed_in = _who(database, opened.cookie, at)
    assert signed_in.principal.may(Permission.SUBMISSION_DECIDE, "000.00.01.H40")
    assert signed_in.principal.agent.id == f"account:{account_id}"
    sessions.check_csrf(signed_in, opened.csrf_token)
    for wrong in (None, "", "x" * 64):
        with pytest.raises(NotPermitted):
            sessions.check_csrf(signed_in, wrong)
    with database.write() as session:
        row = session.scalars(select(BrowserSession)).one()
        assert opened.cookie not in {row.cookie_sha256, row.csrf_token}
        sessions.sign_out(session, opened.cookie, at=at)
        sessions.sign_out(session, opened.cookie, at=at)
    with pytest.raises(NotSignedIn):
        _who(database, opened.cookie, at)
    types = [event_type for event_type, _ in _events(database, account_id)]
    assert types[-2:] == [EventType.ACCOUNT_SIGNED_IN, EventType.ACCOUNT_SIGNED_OUT]


def test_a_refused_sign_in_opens_nothing(database: Database, account_id: UUID, at: datetime) -> None:
    assert sessions.sign_in(database, username="lan.pham", password="no", at=at, limits=LIMITS) is None
    with database.read() as session:
        assert session.scalars(select(BrowserSession).where(BrowserSession.account_id == account_id)).all() == []


def test_a_session_ends_idle_and_ends_old(database: Database, account_id: UUID, at: datetime) -> None:
    opened = _open(database, account_id, at)
    almost = timedelta(minutes=59)
    assert not _who(database, opened.cookie, at + timedelta(seconds=59)).touch_due
    assert _who(database, opened.cookie, at + almost).touch_due
    with pytest.raises(NotSignedIn, match="ended"):
        _who(database, opened.cookie, at + timedelta(minutes=60))
    now = at
    while now + almost < at + LIMITS.absolute:
        now += almost
        _who(database, opened.cookie, now)
        with database.write() as session:
            sessions.touch_session(session, opened.session_id, at=now)
    with pytest.raises(NotSignedIn, match="ended"):
        _who(database, opened.cookie, at + LIMITS.absolute)


def test_a_clock_that_steps_back_keeps_a_session_but_not_for_ever(
    database: Database, account_id: UUID, at: datetime
) -> None:
    opened = _open(database, account_id, at)
    back = at - timedelta(hours=1)
    assert _who(database, opened.cookie, back).session_id == opened.session_id
    with database.write() as session:
        sessions.touch_session(session, opened.session_id, at=back)
    with database.read() as session:
        assert session.get_one(BrowserSession, opened.session_id).last_seen_at == at, "never moved back"
    with pytest.raises(NotSignedIn):
        _who(database, opened.cookie, at - timedelta(days=1))


def test_a_disabled_account_is_out_at_once(database: Database, account_id: UUID, at: datetime) -> None:
    opened = _open(database, account_id, at)
    with database.write() as session:
        accounts.set_disabled(session, account_id, disabled=True, agent=TESTER, at=at)
    with pytest.raises(NotSignedIn):
        _who(database, opened.cookie, at)
    with pytest.raises(NotSignedIn):
        _open(database, account_id, at)
    assert _sign_in(database, at) is None


def test_the_sweep_takes_what_ended_and_nothing_else(database: Database, account_id: UUID, at: datetime) -> None:
    _open(database, account_id, at - timedelta(hours=13))
    _open(database, account_id, at - timedelta(minutes=61))
    alive = _open(database, account_id, at)
    with database.write() as session:
        assert sessions.sweep_sessions(session, at=at, limits=LIMITS) == 2
        assert session.scalars(select(BrowserSession.id)).all() == [alive.session_id]


# ------------------------------------------------------------------ tokens


def test_a_token_from_creation_to_its_end(database: Database, at: datetime) -> None:
    with database.write() as session:
        text = tokens.create_token(
            session, name=" Cổng dịch vụ công ", role=RoleName.SUBMITTER, agency="000.00.16.H40", agent=TESTER, at=at
        )
    assert tokens.TOKEN.fullmatch(text)
    with database.read() as session:
        (row,) = tokens.list_tokens(session)
        assert text not in str(vars(row))
        principal = tokens.authenticate_token(session.connection(), text, at)
    assert (principal.id, principal.name) == (f"token:{row.id}", "Cổng dịch vụ công")
    assert principal.may(Permission.SUBMISSION_PUSH, "000.00.16.H40")
    assert not principal.may(Permission.SUBMISSION_PUSH, "000.00.17.H40")
    assert not principal.may(Permission.RECORD_READ)
    with database.write() as session:
        tokens.revoke_token(session, row.id, agent=TESTER, at=at)
        tokens.revoke_token(session, row.id, agent=TESTER, at=at)
    with pytest.raises(NotSignedIn), database.read() as session:
        tokens.authenticate_token(session.connection(), text, at)
    with database.read() as session:
        events = events_of(session, [("token", row.id)])
        assert [event.type for event in events] == [EventType.TOKEN_CREATED, EventType.TOKEN_REVOKED]
        assert text not in str([event.detail for event in events])


def test_a_token_ends_at_its_time(database: Database, at: datetime) -> None:
    with database.write() as session:
        text = tokens.create_token(
            session,
            name="x",
            role=RoleName.AUDITOR,
            agency=None,
            agent=TESTER,
            at=at,
            expires_at=at + timedelta(days=1),
        )
        assert tokens.verify_token(session.connection(), text, at + timedelta(hours=23)) is not None
        assert tokens.verify_token(session.connection(), text, at + timedelta(days=1)) is None


@pytest.mark.parametrize("text", ["", "arch_", "arch_" + "A" * 43, "Bearer x", "arch_" + "é" * 43, "x" * 100_000])
def test_no_other_text_is_a_token(database: Database, at: datetime, text: str) -> None:
    with database.read() as session, pytest.raises(NotSignedIn):
        tokens.authenticate_token(session.connection(), text, at)


def test_a_token_needs_a_name_and_a_future(database: Database, at: datetime) -> None:
    for name, expires_at in [(" ", None), ("x", at)]:
        with database.write() as session, pytest.raises(BadRequest):
            tokens.create_token(
                session, name=name, role=RoleName.AUDITOR, agency=None, agent=TESTER, at=at, expires_at=expires_at
            )
    with database.read() as session:
        assert session.scalars(select(ApiToken)).all() == []
    with database.write() as session, pytest.raises(NotFound):
        tokens.revoke_token(session, new_id(), agent=TESTER, at=at)


# ------------------------------------------------------------------ the first administrator


def test_the_first_administrator(database: Database, at: datetime) -> None:
    with database.write() as session:
        lost = setup.create_setup_link(session, at=at)
        secret = setup.create_setup_link(session, at=at)
        assert lost is not None
        assert secret is not None
        assert secret not in str([vars(link) for link in session.scalars(select(SetupLink))])
    with database.write() as session, pytest.raises(NotPermitted):
        setup.check_setup_link(session, lost, at=at)
    with pytest.raises(BadRequest):
        _consume(database, secret, at, password="weak")
    account_id = _consume(database, secret, at)
    with pytest.raises(NotPermitted):
        _consume(database, secret, at)
    with database.write() as session:
        assert setup.create_setup_link(session, at=at) is None
        principal = accounts.principal_of(session, session.get_one(Account, account_id))
    assert principal.may(Permission.ACCOUNT_MANAGE)
    assert check_sign_in(database, username="quantri", password=PASSWORD, at=at) == account_id


def _consume(database: Database, secret: str, at: datetime, password: str = PASSWORD) -> UUID:
    with database.write() as session:
        person = Person(username="quantri", display_name="Quản trị")
        return setup.consume_setup_link(session, secret, person, password=password, at=at).id


def test_a_setup_link_ends(database: Database, at: datetime) -> None:
    with database.write() as session:
        secret = setup.create_setup_link(session, at=at)
        assert secret is not None
        setup.check_setup_link(session, secret, at=at + timedelta(hours=23))
        with pytest.raises(NotPermitted):
            setup.check_setup_link(session, secret, at=at + timedelta(hours=24))


def test_two_people_with_the_link_make_one_administrator(database: Database, at: datetime) -> None:
    with database.write() as session:
        secret = setup.create_setup_link(session, at=at)
    assert secret is not None
    barrier = threading.Barrier(2)
    results: list[str] = []

    def race(username: str) -> None:
        barrier.wait()
        try:
            with database.write() as session:
                person = Person(username=username, display_name=username)
                setup.consume_setup_link(session, secret, person, password=PASSWORD, at=at)
        except NotPermitted:
            results.append("refused")
        else:
            results.append("made")

    threads = [threading.Thread(target=race, args=(name,)) for name in ("first", "second")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == ["made", "refused"]
    with database.read() as session:
        assert len(session.scalars(select(Account)).all()) == 1
