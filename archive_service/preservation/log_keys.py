"""The log's signing keys: Ed25519, in `keys/` of the data folder, private halves readable by the service alone and nowhere else.

    log.skey  log.vkey              the key in force, and its public half for verifiers
    log.next.skey  log.next.vkey    while the key is being changed: signs the one seal that both keys sign
    retired/<key id>.vkey           public halves of earlier keys; their private halves are gone

`log.vkey` is what verifiers need; publish it somewhere else than in this archive. All processes of an installation must use the same keys: a
seal by another key is refused (`seal.LogKeyDiffers`).

Changing the key: next key made → event `log.key-rotated` with both public keys → the seal that holds this event is signed by old and new,
in this order → retired public half written → next private half takes the old one's place → public half. Each step is found done or not by
the next try. A verifier who knows any one of the keys follows the change from the log itself (`log_trust`).
"""

from pathlib import Path
from typing import Final

from archive_service.errors import ConfigurationInvalid, Conflict
from archive_service.evidence.checkpoint import NoteKey, NoteSigner, generate_signer, parse_skey, parse_vkey
from archive_service.settings import Settings
from archive_service.storage.durable import durable_file

PRIVATE_NAME: Final = "log.skey"
PUBLIC_NAME: Final = "log.vkey"
NEXT_PRIVATE_NAME: Final = "log.next.skey"
NEXT_PUBLIC_NAME: Final = "log.next.vkey"
RETIRED_DIR: Final = "retired"


def keys_dir(settings: Settings) -> Path:
    """Returns the folder of the log's keys."""
    return settings.data_dir / "keys"


def log_signer(settings: Settings) -> NoteSigner:
    """Returns the signer in force, making its key when the folder has none.

    Raises:
        ConfigurationInvalid: the key cannot be read, can be read by others, or is for another log.
    """
    path = keys_dir(settings) / PRIVATE_NAME
    if not path.exists():
        _make(settings, PRIVATE_NAME, PUBLIC_NAME)
    return _read(settings, path)


def next_signer(settings: Settings) -> NoteSigner | None:
    """Returns the signer that takes over with the next seal, when a change of key has begun.

    Raises:
        ConfigurationInvalid: its key cannot be read, can be read by others, or is for another log.
    """
    path = keys_dir(settings) / NEXT_PRIVATE_NAME
    return _read(settings, path) if path.exists() else None


def make_next_signer(settings: Settings) -> NoteSigner:
    """Returns the signer that is to take over, making its key when there is none yet."""
    log_signer(settings)
    if not (keys_dir(settings) / NEXT_PRIVATE_NAME).exists():
        _make(settings, NEXT_PRIVATE_NAME, NEXT_PUBLIC_NAME)
    return _read(settings, keys_dir(settings) / NEXT_PRIVATE_NAME)


def finish_rotation(settings: Settings) -> NoteSigner:
    """Puts the next key in the old one's place, whose private half is then gone, and returns its signer. Safe to repeat."""
    folder = keys_dir(settings)
    following = next_signer(settings)
    if following is None:
        return log_signer(settings)
    old = log_signer(settings)
    (folder / RETIRED_DIR).mkdir(mode=0o755, exist_ok=True)
    _write_public(folder / RETIRED_DIR / f"{old.key.key_id.hex()}.vkey", old.key)
    with durable_file(folder / PRIVATE_NAME, replace=True, mode=0o600) as target:
        target.write(f"{following.skey()}\n".encode())
    _write_public(folder / PUBLIC_NAME, following.key)
    (folder / NEXT_PRIVATE_NAME).unlink()
    (folder / NEXT_PUBLIC_NAME).unlink(missing_ok=True)
    return following


def public_keys(paths: list[Path]) -> tuple[NoteKey, ...]:
    """Returns the public keys in files of verifier key lines.

    Raises:
        ConfigurationInvalid: a file cannot be read or is empty.
        CheckpointInvalid: a line is no verifier key.
    """
    found: dict[str, NoteKey] = {}
    for path in paths:
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigurationInvalid(f"a verifier key cannot be read: {exc}") from exc
        if not lines:
            raise ConfigurationInvalid(f"{path} holds no verifier key")
        found |= {line: parse_vkey(line) for line in lines}
    return tuple(found.values())


def known_keys(settings: Settings) -> tuple[NoteKey, ...]:
    """Returns this installation's public keys: in force, being changed to, retired; empty before the first seal."""
    folder = keys_dir(settings)
    places = [folder / PUBLIC_NAME, folder / NEXT_PUBLIC_NAME, *sorted((folder / RETIRED_DIR).glob("*.vkey"))]
    return public_keys([path for path in places if path.exists()])


def _read(settings: Settings, path: Path) -> NoteSigner:
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationInvalid(f"{path} can be read by others: chmod 600")
        signer = parse_skey(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as exc:
        raise ConfigurationInvalid(f"{path} cannot be read: {exc}") from exc
    if signer.name != settings.log_origin:
        raise ConfigurationInvalid(f"{path} is the key of {signer.name}, the log is {settings.log_origin}")
    return signer


def _make(settings: Settings, private_name: str, public_name: str) -> None:
    path = keys_dir(settings) / private_name
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    signer = generate_signer(settings.log_origin)
    try:
        with durable_file(path, mode=0o600) as target:
            target.write(f"{signer.skey()}\n".encode())
    except Conflict:  # create-only: of two processes that start together one key wins
        signer = parse_skey(path.read_text(encoding="ascii").strip())
    _write_public(path.with_name(public_name), signer.key)


def _write_public(path: Path, key: NoteKey) -> None:
    with durable_file(path, replace=True, mode=0o644) as target:
        target.write(f"{key.vkey()}\n".encode())
