"""Where copies lie and how they are: locations with the age of their last reading, and incidents with cause and remedy (R120, R121)."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from archive_service import clock
from archive_service.access.storage_overview import count_open_incidents, list_incidents, overview
from archive_service.identity.permissions import Permission
from archive_service.web.templating import render
from archive_service.web.visitors import MemberDep

router = APIRouter(include_in_schema=False)

PAGE: Final = 50


@router.get("/storage")
def get_storage(
    request: Request,
    visitor: MemberDep,
    show: str = "open",
    location: Annotated[str, Query(max_length=100)] = "",
    cursor: str | None = None,
) -> Response:
    """Shows the incidents, those that wait for a remedy or all, and every location to those who look after the whole installation."""
    visitor.principal.require(Permission.INCIDENT_READ)
    service = visitor.service
    with service.database.read() as session:
        cycle = timedelta(days=service.settings.fixity_cycle_days)
        only_open = show != "all"
        return render(
            request,
            visitor,
            "storage.html",
            locations=overview(session, service.layout.locations, cycle=cycle, at=clock.now())
            if visitor.principal.may(Permission.JOB_READ)
            else [],
            page=list_incidents(
                session,
                visitor.principal,
                only_open=only_open,
                location=location or None,
                cursor=cursor,
                limit=PAGE,
            ),
            open_incidents=count_open_incidents(session, visitor.principal),
            show="open" if only_open else "all",
            location=location,
            cursor=cursor,
        )
