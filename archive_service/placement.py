"""Where packages go: the configured policy together with where each location stands in its life."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from sqlalchemy import select

from archive_service.db import Work
from archive_service.errors import ConfigurationInvalid
from archive_service.models import LocationState, StorageLocation
from archive_service.prepared import Prepared
from archive_service.service import Service
from archive_service.storage.locations import StorageLayout
from archive_service.storage.port import Store

RECEIVING: Final = frozenset({LocationState.ACTIVE, LocationState.FILLING})
"""States in which a location gets new packages and its copies count."""
IN_USE: Final = RECEIVING | {LocationState.RETIRING}
"""States in which a location is kept up to date."""

CERTIFIED_COPY_LEVEL: Final = 1
"""Certified copies follow the policy of open records: they were handed out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Policies and states at one moment."""

    layout: StorageLayout
    states: Mapping[str, LocationState]
    """Every configured location, and those that were."""

    def receives(self, location: str) -> bool:
        """Returns whether a location is configured and gets new packages."""
        return location in self.layout.locations and self.states[location] in RECEIVING

    def copies(self, access_level: int) -> tuple[str, ...]:
        """Returns the locations that a record of this label (R130) is to have copies at.

        Raises:
            ConfigurationInvalid: there is none: no policy, or all its locations are retired.
        """
        policy = self.layout.policy_for(access_level)
        found = tuple(name for name in policy.copies if self.receives(name))
        if not found:
            raise ConfigurationInvalid(f"storage policy {policy.name!r}: every location it names is retired")
        return found

    def before_stored(self, access_level: int) -> tuple[str, ...]:
        """Returns the locations whose copies must be read back before STORED; all in use when those named are retired.

        Raises:
            ConfigurationInvalid: as `copies`.
        """
        copies = self.copies(access_level)
        named = self.layout.policy_for(access_level).verified_before_stored
        return tuple(name for name in copies if name in named) or copies

    def later(self, access_level: int) -> tuple[str, ...]:
        """Returns the locations whose copies are made by a job after STORED."""
        first = self.before_stored(access_level)
        return tuple(name for name in self.copies(access_level) if name not in first)


def placement(service: Service, work: Work) -> Placement:
    """Returns policies and states as they are now."""
    states = dict.fromkeys(service.layout.locations, LocationState.ACTIVE)
    states.update({row.name: row.state for row in _STATES.rows(work)})
    return Placement(layout=service.layout, states=MappingProxyType(states))


_STATES: Final = Prepared(select(StorageLocation.name, StorageLocation.state))


def current_placement(service: Service) -> Placement:
    """Returns policies and states as they are now, in a transaction of its own."""
    with service.database.read_prepared() as work:
        return placement(service, work)


def stores_in_use(service: Service) -> Mapping[str, Store]:
    """Returns the stores that are kept up to date: every configured one that is not retired."""
    states = current_placement(service).states
    return MappingProxyType({name: store for name, store in service.stores.items() if states[name] in IN_USE})
