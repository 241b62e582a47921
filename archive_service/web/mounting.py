"""Adds the pages to the application."""

from collections.abc import Mapping

from fastapi import FastAPI

from archive_service.web import (
    assets,
    copy_pages,
    deciding,
    home,
    operation_pages,
    queue,
    record_pages,
    register_pages,
    session_pages,
    storage_pages,
    trust_pages,
)
from archive_service.web.failures import add_error_pages


def add_pages(app: FastAPI, headers: Mapping[str, str]) -> None:
    """Adds every page and shows errors as pages; call it after the API's error answers are in place.

    Args:
        app: The application.
        headers: Security headers that every answer carries.
    """
    for module in (
        assets,
        session_pages,
        home,
        deciding,  # before the queue, whose addresses name a submission where these name an act
        queue,
        record_pages,
        copy_pages,
        register_pages,
        operation_pages,
        storage_pages,
        trust_pages,
    ):
        app.include_router(module.router)
    add_error_pages(app, headers)
