"""What a sample dossier is about: procedure, place, people, dates - drawn from data files by a seed.

The data are `profiles/procedures/sample/1/*.toml`. Names are combined at random; no real person is meant.
"""

import random
import tomllib
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from archive_service.clock import LEGAL_ZONE
from archive_service.resources import profiles_dir

DATA_VERSION: Final = "1"
COMMUNE: Final = "commune"
"""A procedure's unit when the commune settles it."""

_WORK_STARTS: Final = 8
_WORK_ENDS: Final = 17
_SATURDAY: Final = 5


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Lines = tuple[str | tuple[str, str], ...]
"""Body of a paper: a string is a paragraph ("# " starts a heading), a pair is a label with its value."""


class PaperKind(_Row):
    """A paper that the applicant hands in."""

    title: str
    kind: str
    form: str
    holder: str = ""
    body: Lines = ()


class Procedure(_Row):
    """An administrative procedure and the texts of its papers."""

    key: str
    code: str
    name: str
    field: str
    unit: str
    days: int
    maintenance: str
    title: str
    organisation: bool = False
    form_title: str
    form_code: str
    form: Lines
    supplement: str
    refusal: str
    opinion: str
    result_title: str
    result_subject: str = ""
    result_symbol: str
    result_type: str
    result: Lines
    papers: tuple[PaperKind, ...]


class _Commune(_Row):
    code: str
    name: str


class Province(_Row):
    """A province with a few of its communes."""

    code: str
    name: str
    kind: str
    id_prefix: str
    plate: str
    communes: tuple[_Commune, ...]
    villages: tuple[str, ...]
    streets: tuple[str, ...]


class _Department(_Row):
    code: str
    name: str
    parent: str
    head: str
    symbol: str


class _Names(_Row):
    surnames: tuple[str, ...]
    middle_male: tuple[str, ...]
    given_male: tuple[str, ...]
    middle_female: tuple[str, ...]
    given_female: tuple[str, ...]
    business: tuple[str, ...]
    children: tuple[str, ...]


class _Places(_Row):
    province: tuple[Province, ...]
    departments: dict[str, _Department]
    names: _Names


@dataclass(frozen=True, slots=True, kw_only=True)
class Agency:
    """An agency of the sample provinces."""

    name: str
    parent: str
    group: str
    """Its own group below the province in the agency code."""
    province_code: str
    head: str
    """Title of its head."""
    symbol: str
    place: str
    """Place name in the date line of its papers."""

    @property
    def legacy_code(self) -> str:
        """The code in the order of QCVN 102:2016, as dossier codes carry it."""
        return f"000.00.{self.group}.{self.province_code}"

    @property
    def code(self) -> str:
        """The code in the order of QĐ 20/2020."""
        return f"{self.province_code}.{self.group}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A made-up person."""

    name: str
    female: bool
    identifier: str
    born: date

    @property
    def address_form(self) -> str:
        """ông or bà."""
        return "bà" if self.female else "ông"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One dossier before any paper of it is made."""

    procedure: Procedure
    province: Province
    agency: Agency
    """Settles the procedure; receives it too, at its one-stop desk."""
    applicant: Person
    other: Person
    clerk: Person
    """Officer at the one-stop desk."""
    settler: Person
    """Officer who settles."""
    head: Person
    """Who signs the result."""
    received_at: datetime
    due_at: datetime
    closed_at: datetime
    dossier_code: str
    outcome: str
    supplemented: bool
    overdue: bool
    facts: dict[str, str]
    """Fields for the texts."""

    def text(self, template: str) -> str:
        """Returns `template` with the facts filled in."""
        return template.format_map(self.facts)

    @property
    def title(self) -> str:
        """Title of the dossier."""
        return self.text(self.procedure.title)


@cache
def procedures() -> tuple[Procedure, ...]:
    """Returns the sample procedures in the order of the file."""
    raw = _load("procedures.toml")
    return tuple(Procedure.model_validate(entry) for entry in raw["procedure"])


def place_of(agency_code: str) -> str:
    """Returns the name of the sample province an agency (`H56.16`) belongs to, as papers name their place.

    Raises:
        KeyError: not an agency of a sample province.
    """
    return {province.code: province.name for province in _places().province}[agency_code.split(".", maxsplit=1)[0]]


@cache
def _places() -> _Places:
    return _Places.model_validate(_load("places_and_names.toml"))


def _load(name: str) -> dict[str, Any]:  # TOML
    path = profiles_dir() / "procedures" / "sample" / DATA_VERSION / name
    return tomllib.loads(path.read_text(encoding="utf-8"))


def draw_case(number: int, *, seed: int, at: datetime, outcome: str, supplemented: bool, overdue: bool) -> Case:
    """Returns the `number`-th case of a seed; it closed in the ten months before `at`."""
    rng = random.Random(f"case {seed} {number}")  # noqa: S311 - samples, not secrets
    procedure = procedures()[number % len(procedures())]
    province = rng.choice(_places().province)
    commune = rng.choice(province.communes)
    agency = _agency(procedure, province, commune)
    received = _received(rng, at=at, days=procedure.days, supplemented=supplemented)
    due = _workday(received + timedelta(days=procedure.days + (7 if supplemented else 0)), hour=17)
    closed = _workday(due + timedelta(days=3), hour=10) if overdue else due.replace(hour=15, minute=30)
    applicant, other = _person(rng, province, born_from=1960), _person(rng, province, born_from=1965)
    facts = _facts(rng, procedure, province, commune.name, applicant, other)
    facts |= {"symbol": agency.symbol, "today": _vietnamese(closed.date()), "year": str(received.year)}
    return Case(
        procedure=procedure,
        province=province,
        agency=agency,
        applicant=applicant,
        other=other,
        clerk=_staff(agency, "clerk", province),
        settler=_staff(agency, "settler", province),
        head=_staff(agency, "head", province),
        received_at=received,
        due_at=due,
        closed_at=closed,
        dossier_code=f"{agency.legacy_code}-{received:%y%m%d}-{number + 1:04}",
        outcome=outcome,
        supplemented=supplemented,
        overdue=overdue,
        facts=facts,
    )


def _agency(procedure: Procedure, province: Province, commune: _Commune) -> Agency:
    if procedure.unit == COMMUNE:
        short = "".join(word[0] for word in commune.name.split()[1:]).upper()
        return Agency(
            name=f"Ủy ban nhân dân {commune.name}",
            parent=f"{province.kind.capitalize()} {province.name}",
            group=commune.code,
            province_code=province.code,
            head="Chủ tịch",
            symbol=f"UBND-{short}",
            place=commune.name.split(" ", 1)[1],
        )
    department = _places().departments[procedure.unit]
    return Agency(
        name=department.name,
        parent=department.parent.format(province=province.name, province_kind=province.kind),
        group=department.code,
        province_code=province.code,
        head=department.head,
        symbol=department.symbol,
        place=province.name,
    )


def _received(rng: random.Random, *, at: datetime, days: int, supplemented: bool) -> datetime:
    longest = days + (7 if supplemented else 0) + 12
    day = at.astimezone(LEGAL_ZONE).date() - timedelta(days=longest + rng.randrange(250))
    while day.weekday() >= _SATURDAY:
        day -= timedelta(days=1)
    opening = datetime.combine(day, time(_WORK_STARTS), LEGAL_ZONE)
    return opening + timedelta(minutes=rng.randrange(170), seconds=rng.randrange(60))


def _workday(moment: datetime, *, hour: int) -> datetime:
    """The next working day at or after `moment`, at a full hour."""
    while moment.weekday() >= _SATURDAY:
        moment += timedelta(days=1)
    return moment.replace(hour=hour, minute=0, second=0)


def in_office_hours(moment: datetime, *, order: int) -> datetime:
    """Moves a moment to when an office is open; `order` keeps several moved to the same place apart and in order."""
    if moment.weekday() >= _SATURDAY:
        friday = moment - timedelta(days=moment.weekday() - _SATURDAY + 1)
        return friday.replace(hour=_WORK_ENDS - 1, minute=45 + order, second=0)
    if moment.hour < _WORK_STARTS:
        return moment.replace(hour=_WORK_STARTS, minute=order, second=0)
    if moment.hour >= _WORK_ENDS - 1:
        return moment.replace(hour=_WORK_ENDS - 1, minute=30 + order, second=0)
    return moment.replace(microsecond=0)


def _person(rng: random.Random, province: Province, *, born_from: int) -> Person:
    names = _places().names
    female = rng.random() < 0.5  # noqa: PLR2004 - a coin
    middle, given = (names.middle_female, names.given_female) if female else (names.middle_male, names.given_male)
    born = date(born_from, 1, 1) + timedelta(days=rng.randrange(12_000))
    sex = 1 if female else 0  # century and sex digit of the identity number (NĐ 137/2015): 0 and 1 for the 20th century
    identifier = f"{province.id_prefix}{sex}{born:%y}{rng.randrange(10**6):06}"
    name = f"{rng.choice(names.surnames)} {rng.choice(middle)} {rng.choice(given)}"
    return Person(name=name, female=female, identifier=identifier, born=born)


def _staff(agency: Agency, role: str, province: Province) -> Person:
    """The same agency has the same staff in every dossier."""
    return _person(random.Random(f"{agency.code} {agency.name} {role}"), province, born_from=1970)  # noqa: S311


def _facts(
    rng: random.Random, procedure: Procedure, province: Province, commune: str, person: Person, other: Person
) -> dict[str, str]:
    village, street = rng.choice(province.villages), rng.choice(province.streets)
    child_born = date(2025, 1, 5) + timedelta(days=rng.randrange(90))
    child = f"{person.name.split()[0]} {rng.choice(_places().names.children)}"
    business = rng.choice(_places().names.business)
    house = f"số nhà {rng.randrange(1, 180)}, {street}" if commune.startswith("phường") else village
    return {
        "person": person.name,
        "person_upper": person.name.upper(),
        "gender": person.address_form,
        "id_number": person.identifier,
        "birth": _vietnamese(person.born),
        "person_2": other.name,
        "gender_2": other.address_form,
        "id_2": other.identifier,
        "address": f"{house}, {commune}, {province.kind} {province.name}",
        "village": village,
        "street": street,
        "commune": commune,
        "province": province.name,
        "province_kind": province.kind,
        "plot": str(rng.randrange(12, 980)),
        "sheet": str(rng.randrange(3, 78)),
        "area": f"{rng.randrange(600, 4800) / 10:.1f}".replace(".", ","),
        "floor": f"{rng.randrange(560, 1400) / 10:.1f}".replace(".", ","),
        "book": f"DĐ {rng.randrange(100_000, 999_999)}",
        "number_2": str(rng.randrange(120, 4200)),
        "money": f"{rng.randrange(80, 2400) * 1_000_000:,}".replace(",", "."),
        "child": child,
        "child_upper": child.upper(),
        "birth_child": _vietnamese(child_born),
        "sex_child": rng.choice(("Nam", "Nữ")),
        "id_child": f"{province.id_prefix}2{child_born:%y}{rng.randrange(10**6):06}",
        "business": business,
        "business_upper": business.upper(),
        "tax": f"{rng.randrange(2_800_000_000, 2_899_999_999)}" if procedure.organisation else person.identifier,
        "plate": f"{province.plate}B-{rng.randrange(100, 999)}.{rng.randrange(10, 99)}",
    }


def _vietnamese(day: date) -> str:
    return f"{day:%d/%m/%Y}"
