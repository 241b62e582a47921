"""Which keys a log may be signed by, seal after seal: a change of key is followed from the log itself, and a retired key never returns.

A seal that holds a `log.key-rotated` event is signed by the old and the new key; from then on the new one alone is in force. Whoever trusts
one key of the log so trusts its successors, and a seal made later with a leaked old key is refused.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from archive_service.evidence.checkpoint import NoteKey, SignedNote, parse_vkey
from archive_service.evidence.errors import CheckpointInvalid

ROTATION_EVENT: Final = "log.key-rotated"


class LogTrust:
    """The keys of one log while its seals are read in order."""

    def __init__(self, keys: Iterable[NoteKey]) -> None:
        self._keys = {key.vkey(): key for key in keys}
        self.in_force: NoteKey | None = None
        """The key that must have signed the next seal; None before the first one read."""

    @property
    def keys(self) -> tuple[NoteKey, ...]:
        """All keys known by now."""
        return tuple(self._keys.values())

    def accept(self, signed: SignedNote, rotations: Sequence[dict[str, Any]] = ()) -> None:
        """Takes the next seal's note and the details of the rotation events in its segment.

        Raises:
            CheckpointInvalid: a signature is false, none is by a known key, the key in force did not sign, or a change of key is not
                signed by both keys.
        """
        found = {item.key.vkey() for item in signed.verify(self.keys)}
        if self.in_force is not None and self.in_force.vkey() not in found:
            raise CheckpointInvalid(f"not signed by the key in force, {self.in_force.vkey()}")
        for detail in rotations:
            self._change(signed, found, str(detail["old_key"]), str(detail["new_key"]))
        if not rotations:
            if len(found) > 1:
                raise CheckpointInvalid("signed by two keys of the log without an event that changes the key")
            self.in_force = self._keys[found.pop()]

    def resume(self, signed: SignedNote, rotations: Sequence[dict[str, Any]]) -> None:
        """Goes on after a last seal that was accepted before, with the rotations of all seals up to it.

        Raises:
            CheckpointInvalid: malformed keys, or no signature by a known one.
        """
        for detail in rotations:
            key = parse_vkey(str(detail["new_key"]))
            self._keys[key.vkey()] = key
        signed.verify(self.keys)
        by = [key for line in signed.signatures for key in self.keys if line.by(key)]
        self.in_force = by[-1]

    def _change(self, signed: SignedNote, found: set[str], old: str, new: str) -> None:
        key = parse_vkey(new)
        if old not in found:
            raise CheckpointInvalid("a change of key that the old key did not sign")
        if not any(line.by(key) for line in signed.signatures):
            raise CheckpointInvalid("a change of key that the new key did not sign")
        signed.verify([key])
        self._keys[key.vkey()] = key
        self.in_force = key
