"""The log's signing key: Ed25519, made once, in `keys/` of the data folder, readable by the service alone.

`log.vkey` beside it is the public half that verifiers need; publish it somewhere else than in this archive. All processes of an
installation must use the same key: a seal by another key is refused (`seal.LogKeyDiffers`).
"""

from pathlib import Path
from typing import Final

from archive_service.errors import ConfigurationInvalid, Conflict
from archive_service.evidence.checkpoint import NoteKey, NoteSigner, generate_signer, parse_skey, parse_vkey
from archive_service.settings import Settings
from archive_service.storage.durable import durable_file

PRIVATE_NAME: Final = "log.skey"
PUBLIC_NAME: Final = "log.vkey"


def keys_dir(settings: Settings) -> Path:
    """Returns the folder of the log's keys."""
    return settings.data_dir / "keys"


def log_signer(settings: Settings) -> NoteSigner:
    """Returns the signer, making its key when the folder has none.

    Raises:
        ConfigurationInvalid: the key cannot be read, can be read by others, or is for another log.
    """
    path = keys_dir(settings) / PRIVATE_NAME
    if not path.exists():
        _make(settings, path)
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationInvalid(f"{path} can be read by others: chmod 600")
        signer = parse_skey(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as exc:
        raise ConfigurationInvalid(f"{path} cannot be read: {exc}") from exc
    if signer.name != settings.log_origin:
        raise ConfigurationInvalid(f"{path} is the key of {signer.name}, the log is {settings.log_origin}")
    return signer


def public_keys(paths: list[Path]) -> tuple[NoteKey, ...]:
    """Returns the public keys in files of one verifier key line each.

    Raises:
        ConfigurationInvalid: a file cannot be read.
        CheckpointInvalid: a file is no verifier key.
    """
    try:
        return tuple(parse_vkey(path.read_text(encoding="utf-8").strip()) for path in paths)
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigurationInvalid(f"a verifier key cannot be read: {exc}") from exc


def known_keys(settings: Settings) -> tuple[NoteKey, ...]:
    """Returns this installation's public key; empty where nothing was ever sealed."""
    path = keys_dir(settings) / PUBLIC_NAME
    return public_keys([path]) if path.exists() else ()


def _make(settings: Settings, path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    signer = generate_signer(settings.log_origin)
    try:
        with durable_file(path, mode=0o600) as target:
            target.write(f"{signer.skey()}\n".encode())
    except Conflict:  # create-only: of two processes that start together one key wins
        signer = parse_skey(path.read_text(encoding="ascii").strip())
    with durable_file(path.with_name(PUBLIC_NAME), replace=True, mode=0o644) as target:
        target.write(f"{signer.key.vkey()}\n".encode())
