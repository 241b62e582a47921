"""Trust anchors for signatures: list, add, retire."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from archive_service import clock
from archive_service.cli.checking import moment_of
from archive_service.cli.common import DataOption, opened_service, operator_principal
from archive_service.cli.output import print_table
from archive_service.ingest.trust_anchors import add_anchors, anchor_json, list_anchors, retire_anchor

_trust = typer.Typer(no_args_is_help=True, help="Kho chứng thư gốc tin cậy / trust anchors.")


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(_trust, name="trust")


@_trust.command("list")
def trust_list(data: DataOption = None) -> None:
    """Liệt kê chứng thư gốc, cả đã thôi tin cậy / list anchors, retired ones included."""
    at = clock.now()
    with opened_service(data) as service:
        listing = list_anchors(service, operator_principal())
    rows = []
    for entry in listing.store.anchors:
        row = anchor_json(entry, at=at)
        trusted = "có / yes" if row["trusted"] else "không / no"
        rows.append(
            (
                row["sha256"],
                row["scheme"],
                row["subject"],
                row["effective_from"] or "",
                row["retired_at"] or "",
                trusted,
            )
        )
    print_table(("sha256", "scheme", "subject", "effective from", "retired at", "trusted"), rows)
    typer.echo(f"digest {listing.store.digest}")
    if not listing.recorded:
        typer.echo(
            "Kho đã bị sửa ngoài hệ thống / the store was changed by hand since the last recorded change", err=True
        )
    for problem in listing.store.unreadable:
        typer.echo(f"Không đọc được / unreadable: {problem}", err=True)


@_trust.command("add")
def trust_add(
    certificate: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, help="Tệp PEM hoặc DER / PEM or DER file.")
    ],
    scheme: Annotated[str, typer.Option(help="public_service | national | foreign | timestamp | …")],
    effective_from: Annotated[
        str | None, typer.Option(help="Tin cậy từ, ISO 8601 / trusted from; default always.")
    ] = None,
    reason: Annotated[str, typer.Option(help="Lý do / reason, for the record.")] = "",
    data: DataOption = None,
) -> None:
    """Thêm chứng thư gốc / add anchors."""
    since = _moment(effective_from)
    with opened_service(data) as service:
        added = add_anchors(
            service,
            certificate.read_bytes(),
            scheme=scheme,
            effective_from=since,
            principal=operator_principal(),
            at=clock.unique_now(),
            reason=reason,
        )
    for entry in added:
        typer.echo(f"Đã thêm / added: {entry.sha256} {entry.certificate.subject.human_friendly}")


@_trust.command("retire")
def trust_retire(
    sha256: str,
    reason: Annotated[str, typer.Option(help="Lý do / reason.")],
    at: Annotated[str | None, typer.Option(help="Thôi tin cậy từ, ISO 8601 / from when on; default now.")] = None,
    data: DataOption = None,
) -> None:
    """Thôi tin cậy một chứng thư gốc, không xóa / end trust in an anchor; it is never deleted."""
    retired_at = _moment(at)
    with opened_service(data) as service:
        entry = retire_anchor(
            service,
            sha256,
            reason=reason,
            principal=operator_principal(),
            at=clock.unique_now(),
            retired_at=retired_at,
        )
    typer.echo(f"Đã thôi tin cậy / retired: {entry.sha256}")


def _moment(text: str | None) -> datetime | None:
    return moment_of(text) if text else None
