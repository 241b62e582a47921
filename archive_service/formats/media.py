"""Audio and video: length and bit rate from the file's own headers, read natively and bounded (R026).

MP4/QuickTime, AVI, ASF (WMV, WMA), WAV, MP3 and AAC (ADTS) are read. Nothing is decoded: a stream whose headers are
sound may still not play, and the report says that the pictures and sounds themselves were not looked at.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from archive_service.formats.limits import Limits
from archive_service.formats.policy import MediaRule
from archive_service.formats.report import Notes


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One audio or video stream."""

    kind: str
    """`audio` or `video`."""
    duration_s: float
    kbps: float
    """Average bit rate in kilobits a second."""


FrameReader = Callable[[bytes], tuple[int, float] | None]
"""Reads a frame header: length in bytes and duration in seconds, None for no frame."""


class MediaDamaged(Exception):
    """The headers contradict the file or are cut short."""


def check_media(path: Path, mime: str, rule: MediaRule, notes: Notes, limits: Limits) -> None:
    """Reads the streams of a media file; adds `streams`, `duration_s`, `bitrate_kbps`; judges the bit rate."""
    reader = _READERS.get(mime)
    if reader is None:
        notes.unchecked("audio and video streams", f"no reader for {mime}")
        return
    try:
        with path.open("rb") as source:
            streams = reader(source, path.stat().st_size, limits.media_boxes)
    except (MediaDamaged, struct.error) as exc:
        notes.broken(str(exc))
        return
    if not streams:
        notes.unchecked("audio and video streams", "the headers give no length")
        return
    notes.checked.append("audio and video headers")
    notes.skipped("audio and video content", "not decoded")
    _tell(streams, rule, notes)


def _tell(streams: list[Stream], rule: MediaRule, notes: Notes) -> None:
    notes.facts["streams"] = [
        {"kind": stream.kind, "duration_s": round(stream.duration_s, 2), "kbps": round(stream.kbps, 1)}
        for stream in streams
    ]
    notes.facts["duration_s"] = round(max(stream.duration_s for stream in streams), 2)
    notes.facts["bitrate_kbps"] = round(sum(stream.kbps for stream in streams), 1)
    kind = "video" if any(stream.kind == "video" for stream in streams) else "audio"
    required = rule.video_kbps if kind == "video" else rule.audio_kbps
    best = max(stream.kbps for stream in streams if stream.kind == kind)
    if round(best) < required:
        notes.find("FORMAT_BITRATE_LOW", kbps=round(best), required=required, kind=kind)


def _rate(size_bytes: float, duration_s: float) -> float:
    return size_bytes * 8 / duration_s / 1000 if duration_s > 0 else 0.0


# ---------------------------------------------------------------- MP4, QuickTime (ISO 14496-12)

_MP4_CONTAINERS: Final = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl"})
_MAX_SAMPLES: Final = 4_000_000
_MP4_KINDS: Final = {b"vide": "video", b"soun": "audio"}


def _mp4(source: BinaryIO, size: int, bound: int) -> list[Stream]:
    tracks: list[dict[str, float | bytes]] = []
    seen_moov = False
    for kind, start, end in _boxes(source, 0, size, bound, _MP4_CONTAINERS):
        seen_moov |= kind == b"moov"
        if kind == b"trak":
            tracks.append({})
        elif tracks and kind in {b"mdhd", b"hdlr", b"stsz"}:
            source.seek(start)
            tracks[-1].update(_mp4_box(kind, source, end - start))
    if not seen_moov:
        raise MediaDamaged("no moov box: cut short")
    return [stream for track in tracks if (stream := _mp4_stream(track))]


def _boxes(
    source: BinaryIO, start: int, end: int, bound: int, containers: frozenset[bytes]
) -> Iterator[tuple[bytes, int, int]]:
    """Yields boxes in file order with start and end of their content, going into containers."""
    waiting = [(start, end)]
    seen = 0
    while waiting:
        at, stop = waiting.pop()
        while at + 8 <= stop:
            seen += 1
            if seen > bound:
                raise MediaDamaged(f"more than {bound} boxes")
            source.seek(at)
            length, kind = struct.unpack(">I4s", source.read(8))
            content = at + 8
            if length == 1:
                (length,) = struct.unpack(">Q", source.read(8))
                content += 8
            elif length == 0:
                length = stop - at
            if length < content - at or at + length > stop:
                raise MediaDamaged(f"box {kind!r} runs past the end: cut short")
            yield kind, content, at + length
            if kind in containers:
                waiting.append((at + length, stop))
                at, stop = content, at + length
                continue
            at += length


def _mp4_box(kind: bytes, source: BinaryIO, length: int) -> dict[str, float | bytes]:
    if kind == b"hdlr":
        return {"kind": source.read(12)[8:12]}
    if kind == b"mdhd":
        long = source.read(4)[:1] == b"\1"
        body = source.read(28 if long else 16)
        scale, duration = struct.unpack_from(">IQ" if long else ">II", body, 16 if long else 8)
        return {"duration": duration / scale if scale else 0.0}
    same, count = struct.unpack(">II", source.read(12)[4:12])
    if same:
        return {"bytes": float(same) * count}
    if count > _MAX_SAMPLES or count * 4 > length:
        return {}
    return {"bytes": float(sum(struct.unpack(f">{count}I", source.read(4 * count))))}


def _mp4_stream(track: dict[str, float | bytes]) -> Stream | None:
    kind, duration, total = track.get("kind"), track.get("duration"), track.get("bytes")
    if not isinstance(kind, bytes) or kind not in _MP4_KINDS:
        return None
    if not isinstance(duration, float) or not isinstance(total, float) or duration <= 0:
        return None
    return Stream(kind=_MP4_KINDS[kind], duration_s=duration, kbps=_rate(total, duration))


# ---------------------------------------------------------------- RIFF: WAV, AVI


def _chunks(source: BinaryIO, start: int, end: int, bound: int) -> Iterator[tuple[bytes, int, int]]:
    at = start
    for _ in range(bound):
        if at + 8 > end:
            return
        source.seek(at)
        kind, length = struct.unpack("<4sI", source.read(8))
        yield kind, at + 8, min(length, end - at - 8)
        if at + 8 + length > end:
            raise MediaDamaged(f"chunk {kind!r} runs past the end: cut short")
        at += 8 + length + length % 2


def _wav(source: BinaryIO, size: int, bound: int) -> list[Stream]:
    bytes_a_second = data = 0
    for kind, start, length in _chunks(source, 12, size, bound):
        if kind == b"fmt " and length >= 16:  # noqa: PLR2004 - WAVEFORMAT
            source.seek(start)
            (bytes_a_second,) = struct.unpack_from("<I", source.read(16), 8)
        elif kind == b"data":
            data = length
    if not bytes_a_second or not data:
        return []
    return [Stream(kind="audio", duration_s=data / bytes_a_second, kbps=bytes_a_second * 8 / 1000)]


def _avi(source: BinaryIO, size: int, bound: int) -> list[Stream]:
    source.seek(0)
    (declared,) = struct.unpack_from("<I", source.read(12), 4)
    if declared + 8 > size:
        raise MediaDamaged("RIFF size runs past the end: cut short")
    micros = frames = movie = 0
    for kind, start, length in _chunks(source, 12, min(size, declared + 8), bound):
        source.seek(start)
        head = source.read(min(length, 64))
        if kind == b"LIST" and head[:4] == b"hdrl" and head[4:8] == b"avih" and len(head) >= 32:  # noqa: PLR2004 - AVIMAINHEADER
            micros, frames = struct.unpack_from("<I", head, 12)[0], struct.unpack_from("<I", head, 28)[0]
        elif kind == b"LIST" and head[:4] == b"movi":
            movie = length
    duration = micros * frames / 1e6
    return [Stream(kind="video", duration_s=duration, kbps=_rate(movie, duration))] if duration and movie else []


# ---------------------------------------------------------------- ASF: WMV, WMA

_ASF_HEADER: Final = UUID("75B22630-668E-11CF-A6D9-00AA0062CE6C").bytes_le
_ASF_FILE: Final = UUID("8CABDCA1-A947-11CF-8EE4-00C00C205365").bytes_le
_ASF_STREAM: Final = UUID("B7DC0791-A9B7-11CF-8EE6-00C00C205365").bytes_le
_ASF_VIDEO: Final = UUID("BC19EFC0-5B4D-11CF-A8FD-00805F5C442B").bytes_le


def _asf(source: BinaryIO, size: int, bound: int) -> list[Stream]:
    source.seek(0)
    head = source.read(30)
    if len(head) < 30 or head[:16] != _ASF_HEADER:  # noqa: PLR2004 - ASF header object
        raise MediaDamaged("no ASF header")
    end = min(size, struct.unpack_from("<Q", head, 16)[0])
    at, duration, kbps, video = 30, 0.0, 0.0, False
    for _ in range(bound):
        if at + 24 > end:
            break
        source.seek(at)
        body = source.read(104)
        (length,) = struct.unpack_from("<Q", body, 16)
        if length < 24 or at + length > size:  # noqa: PLR2004 - GUID and size
            raise MediaDamaged("an ASF object runs past the end: cut short")
        if body[:16] == _ASF_FILE and len(body) >= 104:  # noqa: PLR2004 - file properties object
            play, _, preroll, _, _, _, rate = struct.unpack_from("<QQQIIII", body, 64)
            duration, kbps = max(0.0, play / 1e7 - preroll / 1000), rate / 1000
        elif body[:16] == _ASF_STREAM:
            video |= body[24:40] == _ASF_VIDEO
        at += length
    return [Stream(kind="video" if video else "audio", duration_s=duration, kbps=kbps)] if duration and kbps else []


# ---------------------------------------------------------------- MPEG audio, ADTS

_MP3_V1: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0)
_MP3_V2: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0)
_MP3_RATES: Final = ((11025, 12000, 8000), (), (22050, 24000, 16000), (44100, 48000, 32000))
_AAC_RATES: Final = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_SCAN_BYTES: Final = 4 * 1024 * 1024
"""Frames are counted in this much of the file; the rest is taken to be alike."""


def _mp3(source: BinaryIO, size: int, bound: int) -> list[Stream]:
    source.seek(0)
    head = source.read(10)
    start = 0
    if head[:3] == b"ID3" and len(head) == 10:  # noqa: PLR2004 - ID3v2 header
        start = 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])
    return _frames(source, start, size, bound * 100, _mp3_frame)


def _mp3_frame(head: bytes) -> tuple[int, float] | None:
    """Returns length in bytes and duration of an MPEG layer III frame."""
    if head[0] != 0xFF or head[1] & 0xE6 != 0xE2:  # noqa: PLR2004 - sync and layer III
        return None
    version, rate_index = head[1] >> 3 & 3, head[2] >> 2 & 3
    if version == 1 or rate_index == 3:  # noqa: PLR2004 - reserved values
        return None
    rate = _MP3_RATES[version][rate_index]
    kbps = (_MP3_V1 if version == 3 else _MP3_V2)[head[2] >> 4]  # noqa: PLR2004 - MPEG-1
    if not kbps:
        return None
    samples = 1152 if version == 3 else 576  # noqa: PLR2004 - MPEG-1
    return samples * kbps * 125 // rate + (head[2] >> 1 & 1), samples / rate


def _aac(source: BinaryIO, size: int, bound: int) -> list[Stream]:
    return _frames(source, 0, size, bound * 100, _aac_frame)


def _aac_frame(head: bytes) -> tuple[int, float] | None:
    """Returns length in bytes and duration of an ADTS frame."""
    if head[0] != 0xFF or head[1] & 0xF6 != 0xF0 or (index := head[2] >> 2 & 15) >= len(_AAC_RATES):  # noqa: PLR2004 - ADTS sync
        return None
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    return (length, 1024 / _AAC_RATES[index]) if length > 7 else None  # noqa: PLR2004 - header alone


def _frames(source: BinaryIO, start: int, size: int, bound: int, read: FrameReader) -> list[Stream]:
    source.seek(start)
    content = source.read(min(_SCAN_BYTES, max(0, size - start)))
    at = count = 0
    seconds = 0.0
    while at + 6 <= len(content) and count < bound:
        frame = read(content[at : at + 6])
        if frame is None:
            break
        at += frame[0]
        seconds += frame[1]
        count += 1
    if count < 2:  # noqa: PLR2004 - one frame can be chance
        raise MediaDamaged("no run of audio frames")
    kbps = _rate(at, seconds)
    return [Stream(kind="audio", duration_s=(size - start) * 8 / 1000 / kbps, kbps=kbps)]


_READERS: Final = {
    "video/mp4": _mp4,
    "audio/mp4": _mp4,
    "video/quicktime": _mp4,
    "audio/wav": _wav,
    "video/x-msvideo": _avi,
    "video/x-ms-asf": _asf,
    "audio/mpeg": _mp3,
    "audio/aac": _aac,
}
