"""The audit trail: one way to append an event, and reading it back."""

from archive_service.audit.events import Agent, append_event, events_of, record_event, software

__all__ = ["Agent", "append_event", "events_of", "record_event", "software"]
