"""Accounts of people and tokens of systems."""

from typing import Annotated, Final
from uuid import UUID

import typer

from archive_service import clock
from archive_service.cli.common import DataOption, opened_service, operator_principal
from archive_service.cli.output import print_table
from archive_service.identity import accounts, tokens
from archive_service.identity.permissions import Grant
from archive_service.models import RoleName
from archive_service.rules.codes import is_agency_code

_token = typer.Typer(no_args_is_help=True, help="Mã truy cập của hệ thống / API tokens.")
_user = typer.Typer(no_args_is_help=True, help="Tài khoản người dùng / local accounts.")

ROLES_HELP: Final = f"Vai trò / role: {', '.join(RoleName)}."
RoleOption = Annotated[RoleName, typer.Option(metavar="ROLE", help=ROLES_HELP)]
AgencyOption = Annotated[str | None, typer.Option(help="Mã cơ quan; bỏ trống = tất cả / agency code; none = all.")]


def add_commands(app: typer.Typer) -> None:
    """Adds this module's commands."""
    app.add_typer(_token, name="token")
    app.add_typer(_user, name="user")


@_token.command("create")
def token_create(
    role: RoleOption,
    name: Annotated[str, typer.Option(help="Tên hệ thống dùng mã / name of the system that uses it.")],
    agency: AgencyOption = None,
    data: DataOption = None,
) -> None:
    """Tạo mã truy cập, in ra một lần / create a token, printed once as the last word."""
    if agency is not None and not is_agency_code(agency):
        raise typer.BadParameter(f"không phải mã cơ quan / not an agency code: {agency}")
    agent = operator_principal().agent
    with opened_service(data) as service, service.database.write() as session:
        text = tokens.create_token(session, name=name, role=role, agency=agency, agent=agent, at=clock.unique_now())
    typer.echo(f"Mã truy cập (chỉ hiện một lần) / token (shown once): {text}")


@_token.command("list")
def token_list(data: DataOption = None) -> None:
    """Liệt kê mã truy cập / list tokens."""
    rows = []
    with opened_service(data) as service, service.database.read() as session:
        for row in tokens.list_tokens(session):
            revoked = row.revoked_at.isoformat() if row.revoked_at else ""
            rows.append((str(row.id), row.name, row.role.value, row.agency or "*", row.created_at.isoformat(), revoked))
    print_table(("id", "name", "role", "agency", "created", "revoked"), rows)


@_token.command("revoke")
def token_revoke(token_id: UUID, data: DataOption = None) -> None:
    """Thu hồi mã truy cập / revoke a token."""
    agent = operator_principal().agent
    with opened_service(data) as service, service.database.write() as session:
        tokens.revoke_token(session, token_id, agent=agent, at=clock.unique_now())
    typer.echo(f"Đã thu hồi / revoked: {token_id}")


@_user.command("create")
def user_create(
    username: str,
    role: Annotated[list[RoleName], typer.Option(metavar="ROLE", help=f"{ROLES_HELP} Lặp lại được / may repeat.")],
    display_name: Annotated[str, typer.Option("--name", help="Họ và tên / full name.")],
    password: Annotated[
        str,
        typer.Option(
            prompt="Mật khẩu đầu tiên / first password",
            hide_input=True,
            confirmation_prompt=True,
            help="Mật khẩu đầu tiên; bỏ trống để được hỏi / first password; asked for when left out.",
        ),
    ],
    position: Annotated[str | None, typer.Option(help="Chức vụ / position.")] = None,
    agency: AgencyOption = None,
    keep_password: Annotated[
        bool, typer.Option(help="Không bắt đổi mật khẩu lần đầu / do not ask for a new password at first sign-in.")
    ] = False,
    data: DataOption = None,
) -> None:
    """Tạo tài khoản / create an account."""
    person = accounts.Person(username=username, display_name=display_name, position=position)
    grants = [Grant(role=name, agency=agency) for name in role]
    with opened_service(data) as service, service.database.write() as session:
        accounts.create_account(
            session,
            person,
            password=password,
            grants=grants,
            agent=operator_principal().agent,
            at=clock.unique_now(),
            must_change_password=not keep_password,
        )
    typer.echo(f"Đã tạo tài khoản / account created: {username}")


@_user.command("list")
def user_list(data: DataOption = None) -> None:
    """Liệt kê tài khoản, vai trò và lần đăng nhập cuối / list accounts, roles and last sign-ins."""
    rows = []
    with opened_service(data) as service, service.database.read() as session:
        for row, grants in accounts.list_accounts(session):
            seen = row.last_signed_in_at.isoformat(timespec="seconds") if row.last_signed_in_at else ""
            cells = (
                row.username,
                row.display_name,
                row.position or "",
                ", ".join(f"{grant.role.value}@{grant.agency or '*'}" for grant in grants),
                row.created_at.isoformat(timespec="seconds"),
                seen,
                "khoá / disabled" if row.disabled else "mở / enabled",
            )
            rows.append(cells)
    print_table(("username", "name", "position", "roles", "created", "last sign-in", "state"), rows)


@_user.command("password")
def user_password(
    username: str,
    password: Annotated[
        str,
        typer.Option(
            prompt="Mật khẩu mới / new password",
            hide_input=True,
            confirmation_prompt=True,
            help="Mật khẩu mới; bỏ trống để được hỏi / new password; asked for when left out.",
        ),
    ],
    data: DataOption = None,
) -> None:
    """Đặt lại mật khẩu / set a new password."""
    with opened_service(data) as service, service.database.write() as session:
        account = accounts.find_account(session, username)
        accounts.set_password(session, account.id, password, agent=operator_principal().agent, at=clock.unique_now())
    typer.echo(f"Đã đổi mật khẩu / password set: {username}")


@_user.command("disable")
def user_disable(
    username: str,
    enable: Annotated[bool, typer.Option("--enable", help="Mở lại / enable again.")] = False,
    data: DataOption = None,
) -> None:
    """Khoá (hoặc mở lại) tài khoản / disable (or enable) an account."""
    with opened_service(data) as service, service.database.write() as session:
        account = accounts.find_account(session, username)
        accounts.set_disabled(
            session, account.id, disabled=not enable, agent=operator_principal().agent, at=clock.unique_now()
        )
    typer.echo(f"{username}: {'mở / enabled' if enable else 'khoá / disabled'}")
