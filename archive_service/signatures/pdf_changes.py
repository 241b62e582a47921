"""Which changes after a signature are what: pyHanko's difference analysis, with two of its rules as other makers' files need them.

- A signature field without area shows nothing, so what its appearance consists of is validation material like the field itself.
  iText, and DSS with it, give every archive time-stamp an empty appearance; pyHanko counts that as form filling, for which nobody vouches.
- A visible signature field may follow a certification that permits form filling or annotations (ISO 32000-2 table 257: "signing").
  It counts as form filling: a later signature that passes must vouch for it, which an attacker's own does not (sneaky signature).
- A new signature field is a plain widget. pyHanko does not look at what else it brings: a script or link that runs when it is reached
  is no signature, however invisible the field is.
"""

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from pyhanko.sign.diff_analysis import (
    DEFAULT_DIFF_POLICY,
    FormUpdatingRule,
    ModificationLevel,
    SigFieldCreationRule,
    StandardDiffPolicy,
    SuspiciousModification,
)
from pyhanko.sign.diff_analysis.form_rules_api import FieldComparisonContext, FormUpdate
from pyhanko.sign.diff_analysis.rules.form_field_rules import (
    GenericFieldModificationRule,
    SigFieldModificationRule,
    is_field_visible,
)

_REFERENCE: Final = re.compile(r"Reference\(idnum=(\d+), generation=(\d+)\)")
_MORE_REFERENCES: Final = re.compile(r"((?:\d+ \d+ R, ){5})(?:\d+ \d+ R(?:, )?)+")
"""Objects after the fifth of a list."""
_WORDS_MAX: Final = 300


def in_words(result: object) -> str:
    """Returns what the analysis objected to, for a person: objects named as PDF names them, the first of many."""
    text = _REFERENCE.sub(r"\1 \2 R", str(result or "-"))
    return _MORE_REFERENCES.sub(r"\1…", text)[:_WORDS_MAX]


class NewSignatureFields(SigFieldCreationRule):
    """Lets signature fields be added; what belongs to an invisible one is no more than the field itself."""

    def __init__(self) -> None:
        super().__init__(allow_new_visible_after_certify=True)  # type: ignore[no-untyped-call] # pyHanko's own

    def apply(self, context: FieldComparisonContext) -> Iterable[tuple[ModificationLevel, FormUpdate]]:
        """Yields every update that is explained by a new signature field, with its level."""
        for name, added in context.field_specs.items():
            if added.field_type == "/Sig" and not added.old_field_ref and added.new_field_ref:
                _require_plain_widget(name, added.new_field_ref.get_object())
        for level, update in super().apply(context):
            spec = context.field_specs.get(update.field_name) if update.field_name else None
            field: Any = spec.new_field_ref.get_object() if spec is not None and spec.new_field_ref else None
            if field is not None and not is_field_visible(field):  # type: ignore[no-untyped-call]
                yield ModificationLevel.LTA_UPDATES, replace(update, valid_when_locked=True)
            else:
                yield level, update


def _require_plain_widget(name: str, field: Any) -> None:
    """Refuses a signature field that does something or is another kind of annotation as well."""
    kids: Any = [kid.get_object() for kid in field["/Kids"]] if "/Kids" in field else []
    for part in (field, *kids):
        if "/A" in part or "/AA" in part or part.get("/Subtype", "/Widget") != "/Widget":
            raise SuspiciousModification(f"The new signature field {name} carries an action or is another annotation.")


DIFFERENCES: Final = StandardDiffPolicy(
    global_rules=DEFAULT_DIFF_POLICY.global_rules,
    form_rule=FormUpdatingRule(
        field_rules=[NewSignatureFields(), SigFieldModificationRule(), GenericFieldModificationRule()]
    ),
)
"""Difference analysis for validation."""
