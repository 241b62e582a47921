"""House rules that a machine can check (STYLE section 10). Each rule names its few exceptions here, with the reason."""

import ast
import importlib
import pkgutil
import re
import tomllib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import archive_service
from archive_service.errors import ArchiveError
from archive_service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "archive_service"
MAX_MODULE_LINES = 600
MAX_FUNCTION_LINES = 60

STATE_WRITERS = {
    "archive_service/lifecycle.py",  # the one function that changes a submission's or record's state
    "archive_service/jobs/queue.py",  # the state of a job row, which has no lifecycle events but parking
}
"""`.state =` elsewhere is allowed only under preservation/, for the state of a copy (AipCopy)."""
COMMITTERS = {"archive_service/db.py"}
CLOCK_READERS = {"archive_service/clock.py"}
STORE_WRITERS = {"archive_service/storage/durable.py"}

THIRD_PARTY_HOMES = {
    "pyhanko": ("signatures", "samples", "evidence"),
    "pyhanko_certvalidator": ("signatures", "samples", "evidence"),
    "signxml": ("signatures", "samples"),
    "lxml": ("formats", "signatures", "packaging"),
    "boto3": ("storage/s3", "storage/s3_client"),
    "botocore": ("storage/s3", "storage/s3_client"),
    "pikepdf": ("formats", "copies", "samples"),
    "pypdfium2": ("formats", "copies", "samples"),
    "pygfried": ("formats",),
    "magic": ("formats",),
    "pylibmagic": ("formats",),
    "typst": ("copies", "samples"),
    "segno": ("copies", "samples"),
    "fastapi": ("api", "web", "application"),
    "starlette": ("api", "web", "application"),
    "jinja2": ("web", "api"),
    "uvicorn": ("api", "cli", "serve", "demo"),
    "apscheduler": ("jobs/scheduler",),
    "argon2": ("identity",),
    "typer": ("cli", "demo"),
    "rich": ("cli", "demo"),
    "alembic": ("migrations",),
}
"""Where each library may be imported, as path prefixes below archive_service (STYLE 2)."""

STANDARD_NAMES = {"CryptoInfos"}  # RFC 4998 names this ASN.1 type so

NO_DATABASE = ("formats", "signatures", "packaging", "storage", "rules", "evidence", "samples")


@cache
def _trees() -> dict[str, ast.Module]:
    files = [*PACKAGE.rglob("*.py"), *(ROOT / "tests").rglob("*.py")]
    return {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8")) for path in sorted(files)}


def _own() -> Iterator[tuple[str, ast.Module]]:
    return ((path, tree) for path, tree in _trees().items() if path.startswith("archive_service/"))


def _refuse(found: Iterable[str]) -> None:
    """Fails with every place at once, one a line."""
    places = sorted(found)
    if places:
        pytest.fail("\n".join(["", *places]), pytrace=False)


# ------------------------------------------------------------------ state, transactions, clock, files


def _state_assignments(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign):
            targets = [part for target in node.targets for part in getattr(target, "elts", [target])]
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        for target in targets:
            if isinstance(target, ast.Attribute) and target.attr == "state":
                yield target.lineno, _name(target)


def test_states_change_in_one_place() -> None:
    """Tests included: fixtures reach a state by legal steps."""
    _refuse(
        f"{path}:{line} {name}"
        for path, tree in _trees().items()
        if path not in STATE_WRITERS and not path.startswith("archive_service/preservation/")
        for line, name in _state_assignments(tree)
        if not (path.startswith("archive_service/cli/") and name == "outcome.state")  # what a command prints, no row
    )


def test_state_of_submission_and_record_is_not_written_by_update_statements() -> None:
    """`update(Record).values(state=...)` would go round the lifecycle just the same."""

    def found() -> Iterator[str]:
        for path, tree in _trees().items():
            for node in ast.walk(tree):
                if not (isinstance(node, ast.Call) and _name(node.func).endswith(".values")):
                    continue
                chain = ast.unparse(node.func)
                if any(key.arg == "state" for key in node.keywords) and re.search(
                    r"update\((Record|Submission)\)", chain
                ):
                    yield f"{path}:{node.lineno}"

    _refuse(found())


def test_transactions_end_in_one_place() -> None:
    _refuse(
        f"{path}:{node.lineno}"
        for path, tree in _trees().items()
        if path not in COMMITTERS
        and not path.startswith(("archive_service/storage/", "tests/storage/"))  # no database there
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and re.search(r"\.(commit|rollback)$", _name(node.func))
        # A staging or store writer's commit makes bytes durable and has nothing to do with transactions.
        if not re.search(r"(^|\.)_?(writing|writer|staged|upload)\.commit$", _name(node.func))
    )


_CLOCKS = re.compile(
    r"(^|\.)(datetime\.(now|utcnow|today)|date\.today|time\.(time|time_ns|monotonic|monotonic_ns|sleep|localtime|gmtime))$"
)


def test_one_module_reads_the_clock() -> None:
    found = (
        f"{path}:{node.lineno} {_name(node)}"
        for path, tree in _own()
        if path not in CLOCK_READERS
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and _CLOCKS.search(_name(node))
    )
    _refuse(found)


def test_sql_does_not_read_the_clock() -> None:
    found = (
        f"{path}:{node.lineno}"
        for path, tree in _own()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and _name(node) in {"func.now", "func.current_timestamp", "func.current_date"}
    )
    _refuse(found)


def _writing_mode(call: ast.Call) -> bool:
    name = _name(call.func).rsplit(".", 1)[-1]
    if name in {"write_bytes", "write_text", "copyfile", "copyfileobj", "rename", "replace", "unlink", "rmtree"}:
        # str.replace has two arguments that are no paths, a path's has one; dataclasses.replace is a bare name.
        method = isinstance(call.func, ast.Attribute) and len(call.args) == 1 and not call.keywords
        return name != "replace" or method or _name(call.func) == "os.replace"
    if name != "open":
        return False
    mode = [arg.value for arg in (*call.args, *(key.value for key in call.keywords)) if isinstance(arg, ast.Constant)]
    return any(isinstance(text, str) and re.fullmatch(r"[rwaxbt+]+", text) and set(text) & set("wax+") for text in mode)


def test_one_module_writes_under_a_store_root() -> None:
    found = (
        f"{path}:{node.lineno} {_name(node.func)}"
        for path, tree in _own()
        if path.startswith("archive_service/storage/") and path not in STORE_WRITERS
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _writing_mode(node)
    )
    _refuse(found)


def test_no_exception_vanishes() -> None:
    """`except …: pass` hides a failure; `contextlib.suppress(Exception)` does the same in other words."""

    def found() -> Iterator[str]:
        for path, tree in _own():
            for node in ast.walk(tree):
                if isinstance(node, ast.ExceptHandler) and all(isinstance(part, ast.Pass) for part in node.body):
                    yield f"{path}:{node.lineno}"
                if isinstance(node, ast.Call) and _name(node.func).endswith("suppress"):
                    names = {_name(arg) for arg in node.args}
                    if names & {"Exception", "BaseException"}:
                        yield f"{path}:{node.lineno}"

    _refuse(found())


# ------------------------------------------------------------------ size and names


def test_modules_are_short() -> None:
    lines = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in _trees()}
    _refuse(f"{path} has {count} lines" for path, count in lines.items() if count > MAX_MODULE_LINES)


def test_functions_are_short() -> None:
    def found() -> Iterator[str]:
        for path, tree in _own():
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _body_lines(node) > MAX_FUNCTION_LINES:
                    yield f"{path}:{node.lineno} {node.name} has {_body_lines(node)} lines"

    _refuse(found())


def _body_lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first, has_text = node.body[0], ast.get_docstring(node) is not None
    doc_lines = (first.end_lineno or first.lineno) - first.lineno + 1 if has_text else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - doc_lines


_EMPTY_WORDS = re.compile(r"(manager|helper|util|handler|process(or)?|info|data)s?$", re.IGNORECASE)


def test_names_say_what_a_thing_is() -> None:
    def found() -> Iterator[str]:
        for path, tree in _own():
            words = re.split(r"[_/]", path.removesuffix(".py"))[1:]
            if any(_EMPTY_WORDS.fullmatch(word) for word in words):
                yield path
            for node in ast.walk(tree):
                if isinstance(node, ast.ClassDef) and node.name not in STANDARD_NAMES:
                    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z][a-z]+", node.name)
                    if words and _EMPTY_WORDS.fullmatch(words[-1]):
                        yield f"{path}:{node.lineno} {node.name}"

    _refuse(found())


def test_every_public_name_has_a_docstring() -> None:
    def found() -> Iterator[str]:
        kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
        for path, tree in _own():
            if not ast.get_docstring(tree):
                yield path
            public = [part for part in tree.body if isinstance(part, kinds) and not part.name.startswith("_")]
            members = [member for part in public if isinstance(part, ast.ClassDef) for member in part.body]
            for node in (*public, *members):
                if isinstance(node, kinds) and not node.name.startswith("_") and not ast.get_docstring(node):
                    yield f"{path}:{node.lineno} {node.name}"

    _refuse(found())


# ------------------------------------------------------------------ errors, findings, settings


def _all_errors() -> list[type[ArchiveError]]:
    for module in pkgutil.walk_packages(archive_service.__path__, "archive_service."):
        if "_data" not in module.name and not module.name.endswith("__main__"):
            importlib.import_module(module.name)

    def below(base: type[ArchiveError]) -> Iterator[type[ArchiveError]]:
        yield base
        for child in base.__subclasses__():
            yield from below(child)

    return sorted(set(below(ArchiveError)), key=lambda error: error.__qualname__)


def test_every_error_has_its_own_code_and_says_what_it_means() -> None:
    codes: dict[str, str] = {}
    for error in _all_errors():
        assert "code" in vars(error), f"{error.__qualname__} needs a code of its own"
        assert re.fullmatch(r"[A-Z][A-Z0-9_]+", error.code), error.code
        assert vars(error).get("__doc__"), f"{error.__qualname__} needs a docstring for the operator"
        other = codes.setdefault(error.code, error.__qualname__)
        assert other == error.__qualname__, f"{error.code} is the code of {other} and {error.__qualname__}"


def _finding_codes() -> dict[str, str]:
    codes: dict[str, str] = {}
    for path in sorted((ROOT / "profiles" / "findings").rglob("*.toml")):
        for code in _codes_in(tomllib.loads(path.read_text(encoding="utf-8"))):
            codes[code] = path.relative_to(ROOT).as_posix()
    return codes


def _codes_in(table: dict[str, object], prefix: str = "") -> Iterator[str]:
    if "severity" in table:
        yield prefix
        return
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _codes_in(value, f"{prefix}.{name}" if prefix else name)


def _words(folder: str) -> set[str]:
    files = sorted((ROOT / folder).rglob("*.py"))
    if folder == "archive_service":  # a profile may name the code that breaking one of its rules gives
        files += [path for path in sorted((ROOT / "profiles").rglob("*.toml")) if "findings" not in path.parts]
    return {word for path in files for word in re.findall(r"[\w.-]+", path.read_text(encoding="utf-8"))}


def test_every_finding_code_is_raised_somewhere() -> None:
    codes = _finding_codes()
    assert codes, "no finding texts found: the reading of profiles/findings is broken"
    unused = set(codes) - _words("archive_service")
    _refuse(f"{codes[code]}: {code}" for code in unused)


def test_every_finding_code_is_provoked_by_a_test() -> None:
    codes = _finding_codes()
    untested = set(codes) - _words("tests")
    _refuse(f"{codes[code]}: {code}" for code in untested)


def test_every_setting_says_what_it_is_for() -> None:
    short = [name for name, field in Settings.model_fields.items() if len(field.description or "") < 10]
    _refuse(short)


# ------------------------------------------------------------------ what may not be in any file

_LEFTOVERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
_MACHINE = re.compile(r"/wo" r"rk/|/ro" r"ot/|/home/[a-z]+/|/tmp/[a-z]+/")
_TEXT_FILES = ("*.py", "*.toml", "*.md", "*.typ", "*.html", "*.css", "*.js", "*.in", "*.ini", "*.mako", "*.xsd")


def _project_files() -> Iterator[Path]:
    for folder in ("archive_service", "tests", "profiles", "retention_rules", "alembic", "deploy", ".ci"):
        for pattern in _TEXT_FILES:
            yield from (ROOT / folder).rglob(pattern)
    yield from ROOT.glob("*.md")
    yield from ROOT.glob("*.toml")


@pytest.mark.parametrize(
    ("pattern", "what"), [(_LEFTOVERS, "a mark of unfinished work"), (_MACHINE, "a path of one machine")]
)
def test_no_file_holds(pattern: re.Pattern[str], what: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {what}"
        for path in sorted(set(_project_files()))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    _refuse(found)


def test_every_type_ignore_and_noqa_names_its_rule() -> None:
    found = [
        f"{path}:{number}"
        for path in _trees()
        for number, line in enumerate((ROOT / path).read_text(encoding="utf-8").splitlines(), 1)
        if re.search(r"#\s*type:\s*ignore(?!\[)", line) or re.search(r"#\s*noqa(?!:)", line)
    ]
    _refuse(place for place in found if not place.startswith("tests/unit/test_house_rules.py"))


# ------------------------------------------------------------------ homes of libraries


def _imports(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.lineno, node.module


def test_each_library_stays_at_home() -> None:
    def found() -> Iterator[str]:
        for path, tree in _own():
            place = path.removeprefix("archive_service/").removesuffix(".py")
            for line, module in _imports(tree):
                homes = THIRD_PARTY_HOMES.get(module.split(".")[0])
                if homes is not None and not any(place == home or place.startswith(f"{home}/") for home in homes):
                    yield f"{path}:{line} imports {module}"

    _refuse(found())


def test_bytes_and_rules_know_no_database() -> None:
    found = (
        f"{path}:{line} imports {module}"
        for path, tree in _own()
        if path.split("/")[1] in NO_DATABASE
        for line, module in _imports(tree)
        if module.split(".")[0] in {"sqlalchemy", "alembic", "psycopg"} or module.startswith("archive_service.models")
    )
    _refuse(found)


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    if isinstance(node, ast.Name):
        return node.id
    return ""


# ------------------------------------------------------------------ the rules themselves can fail


def test_the_rules_see_what_they_forbid() -> None:
    bad = ast.parse(
        "row.state = State.STORED\nrow.x, row.state = 1, 2\nsession.commit()\nopen(p, 'wb')\nopen(p, 'rb')\n"
    )
    assert list(_state_assignments(bad)) == [(1, "row.state"), (2, "row.state")]
    calls = [node for node in ast.walk(bad) if isinstance(node, ast.Call) and _name(node.func) == "open"]
    assert [_writing_mode(call) for call in calls] == [True, False]
    clock = ast.parse("datetime.now(UTC)\nclock.now()\ntime.monotonic()\ndt.date.today()\n")
    seen = [_name(node) for node in ast.walk(clock) if isinstance(node, ast.Attribute) and _CLOCKS.search(_name(node))]
    assert sorted(seen) == ["datetime.now", "dt.date.today", "time.monotonic"]
    assert list(_codes_in({"a": {"b": {"severity": "error"}}, "c": {"severity": "info"}})) == ["a.b", "c"]
