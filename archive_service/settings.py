"""Settings: environment variables `ARCHIVE_*` or a TOML file, validated once at start.

Precedence: explicit override, environment, the TOML file named by `ARCHIVE_CONFIG`, default. README's table of settings is generated
from this class (`archive-service settings`), and a test compares the two.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archive_service.errors import ConfigurationInvalid

_GIB = 1024**3
_MIB = 1024**2


class Settings(BaseModel):
    """Everything an operator can set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data_dir: Annotated[
        Path, Field(description="Folder of the embedded default: database, staging, storage, trust.")
    ] = Path("data")
    database_url: Annotated[
        str | None, Field(description="SQLAlchemy URL; default is SQLite in the data folder.", repr=False)
    ] = None
    locations: Annotated[
        Path | None, Field(description="TOML file naming storage locations and policies; default two folders.")
    ] = None
    public_url: Annotated[
        str | None, Field(description="Address under which users reach the service; used in QR codes and links.")
    ] = None
    system_name: Annotated[str, Field(description="Name of the system printed on copies (NĐ 45/2020 Đ18).")] = (
        "Hệ thống lưu trữ hồ sơ thủ tục hành chính điện tử"
    )
    owner_name: Annotated[str, Field(description="Name of the system's owner printed on copies.")] = (
        "Cơ quan chủ quản (chưa cấu hình)"
    )
    archive_code: Annotated[str, Field(description="Code of the agency archive, first part of arcFileCode.")] = "LTHH"
    fonds_code: Annotated[str | None, Field(description="Fonds code, where the archive uses one.")] = None
    csip_version: Annotated[
        str, Field(pattern=r"^2\.(0\.4|1\.0|2\.0)$", description="E-ARK CSIP version of new AIPs.")
    ] = "2.0.4"
    trust_dir: Annotated[Path | None, Field(description="Trust store folder; default `trust` in the data folder.")] = (
        None
    )
    format_policy: Annotated[str, Field(description="Format policy id under profiles/formats.")] = "tthc"
    signature_policy: Annotated[str, Field(description="Signature policy id under profiles/signatures.")] = "vn-tthc"
    completeness_profile: Annotated[str, Field(description="Completeness profile id under profiles/completeness.")] = (
        "tthc"
    )
    retention_rule_set: Annotated[str, Field(description="Retention rule set id under retention_rules.")] = "sample"
    clamd: Annotated[
        str | None, Field(description="clamd address: unix:/path or tcp:host:port; none = not scanned.")
    ] = None
    clock_skew_s: Annotated[int, Field(ge=0, description="How far a sender's clock may run ahead, in seconds.")] = 300
    max_dossier_json_bytes: Annotated[int, Field(gt=0, description="Largest dossier.json accepted.")] = 128 * _MIB
    max_component_bytes: Annotated[int, Field(gt=0, description="Largest component accepted.")] = 64 * _GIB
    max_package_bytes: Annotated[int, Field(gt=0, description="Largest one-shot ZIP accepted.")] = 64 * _GIB
    max_zip_ratio: Annotated[
        int, Field(gt=0, description="Largest ratio of unpacked to packed size in a pushed ZIP.")
    ] = 200
    staging_max_age_h: Annotated[
        int, Field(gt=0, description="Unfinished uploads older than this are swept, in hours.")
    ] = 168
    workers: Annotated[
        int, Field(ge=0, description="Worker processes that `serve` starts; 0 = one per core, at most 4.")
    ] = 0
    job_lease_s: Annotated[
        int, Field(gt=0, description="A job whose worker is silent for this long is taken over.")
    ] = 60
    job_poll_s: Annotated[float, Field(gt=0, description="Pause of an idle worker between looks at the queue.")] = 0.5
    job_max_attempts: Annotated[int, Field(gt=0, description="Tries before a job is parked for an operator.")] = 8
    signature_time_limit_s: Annotated[
        int,
        Field(
            gt=0, description="Longest check of a small file's signatures, in seconds; each MiB to be read adds 0.1 s."
        ),
    ] = 10
    check_memory_limit_mb: Annotated[
        int,
        Field(
            gt=0,
            description="Most address space one checking process may take for a file, in MiB; small files get less.",
        ),
    ] = 1024
    signature_workers: Annotated[
        int,
        Field(
            ge=0, description="Processes per worker that validate signatures; 0 = the cores shared among the workers."
        ),
    ] = 0
    live_fetching: Annotated[
        bool,
        Field(description="Fetch missing issuers, CRLs and OCSP responses over HTTP while checking; reports say so."),
    ] = False
    live_fetching_hosts: Annotated[
        str,
        Field(description="Comma-separated hosts in the own network that may be asked when live fetching is on."),
    ] = ""
    clamd_max_mb: Annotated[
        int,
        Field(
            gt=0, description="Largest file whose clean answer is believed, in MiB; not above clamd's own size limits."
        ),
    ] = 100
    renditions: Annotated[
        bool,
        Field(description="Render Office and image components to PDF/A after storing, where LibreOffice is present."),
    ] = True
    text_search: Annotated[
        bool, Field(description="Take text from components after storing, so that records are found by it.")
    ] = True
    rendition_delay_s: Annotated[
        int,
        Field(ge=0, description="Renditions and text wait this long after storing, so that a burst is archived first."),
    ] = 300
    rendition_time_limit_s: Annotated[
        int, Field(gt=0, description="Longest rendering of one component, in seconds.")
    ] = 120
    quarantine_days: Annotated[
        int, Field(gt=0, description="Files of submissions with malware stay in quarantine this long, in days.")
    ] = 30
    session_idle_min: Annotated[
        int, Field(gt=0, description="A browser session ends after this idle time, in minutes.")
    ] = 60
    session_max_h: Annotated[
        int, Field(gt=0, description="A browser session ends after this time in any case, in hours.")
    ] = 12
    cookie_secure: Annotated[bool, Field(description="Send the session cookie over HTTPS only; set behind TLS.")] = (
        False
    )
    trusted_proxies: Annotated[
        str, Field(description="Comma-separated proxy addresses whose forwarded headers count.")
    ] = ""
    fixity_bytes_per_day: Annotated[
        int, Field(ge=0, description="Bytes the fixity check reads per location and day; 0 = only the sample.")
    ] = 256 * _GIB
    fixity_max_h: Annotated[
        float, Field(gt=0, description="Longest scheduled fixity run on one location, in hours.")
    ] = 6.0
    fixity_cycle_days: Annotated[
        int,
        Field(
            gt=0,
            le=1095,
            description="A copy not read for this long is due for the fixity check (R120: at most 3 years).",
        ),
    ] = 90
    fixity_silent_runs: Annotated[
        int, Field(ge=1, description="A copy that could not be checked in so many runs in a row is an incident.")
    ] = 3
    fixity_silent_days: Annotated[
        float, Field(ge=0, description="The same after so many days since the first of them.")
    ] = 7.0
    fixity_sample_copies: Annotated[
        int, Field(ge=0, description="Copies each fixity run reads at random, whatever budget and age say.")
    ] = 20
    way_back_days: Annotated[
        int,
        Field(ge=92, description="A retired location keeps its copies this long, as the way back (R124: 3 months)."),
    ] = 92
    log_origin: Annotated[
        str, Field(pattern=r"^[^\s+]+$", description="Unique name of the evidence log, by custom a schema-less URL.")
    ] = "archive-service.invalid/log"
    tsa_url: Annotated[
        str | None,
        Field(description="Time-stamp authorities (RFC 3161), comma-separated, asked in order; none = no time-stamp."),
    ] = None
    tsa_anchors: Annotated[
        Path | None, Field(description="PEM file of the time-stamp authorities' root certificates.")
    ] = None
    backup_dir: Annotated[
        Path | None, Field(description="Folder of the nightly backup, on another medium; none = no scheduled backup.")
    ] = None
    backup_recipients: Annotated[
        str | None,
        Field(description="Who can open backups: age1… keys, comma-separated (`archive-service backup-key`)."),
    ] = None
    backup_keep: Annotated[int, Field(gt=0, description="Scheduled backups kept; older ones are removed.")] = 30
    backup_identity: Annotated[
        Path | None,
        Field(
            description="Key file for scheduled restore drills; none = drills are run by hand, with the key kept away."
        ),
    ] = None
    log_json: Annotated[bool, Field(description="Write log lines as JSON.")] = False

    @property
    def resolved_database_url(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir / 'archive.db'}"

    @property
    def staging_dir(self) -> Path:
        """Folder of uploads that are not yet stored."""
        return self.data_dir / "staging"

    @property
    def quarantine_dir(self) -> Path:
        """Folder of refused submissions in which malware was found; nothing in it is ever read by the service."""
        return self.data_dir / "quarantine"

    @property
    def resolved_trust_dir(self) -> Path:
        """The trust store folder in force."""
        return self.trust_dir or self.data_dir / "trust"


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:  # values of any field
    """Returns the settings in force.

    Raises:
        ConfigurationInvalid: a value does not fit; every wrong one is named.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    config = environ.get("ARCHIVE_CONFIG")
    if config:
        values.update(_read_toml(Path(config)))
    for name in Settings.model_fields:
        text = environ.get(f"ARCHIVE_{name.upper()}")
        if text is not None:
            values[name] = text or None
    values.update({name: value for name, value in overrides.items() if value is not None})
    try:
        return Settings.model_validate(values)
    except ValidationError as exc:
        problems = "; ".join(f"{'.'.join(map(str, p['loc']))}: {p['msg']}" for p in exc.errors(include_input=False))
        raise ConfigurationInvalid(f"settings: {problems}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ConfigurationInvalid(f"settings file {path}: {exc}") from exc
