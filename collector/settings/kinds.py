"""The kinds of references: how values of a kind are compared, within what they are unique, and their limit.

Those that every configuration knows stand in kinds.yaml beside this file; `kinds` in tieout.yaml adds
others, or changes single keys of these. A mapping only names a kind.
"""

import difflib
from collections.abc import Iterable
from collections.abc import Mapping as MappingOf
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Final

import yaml
from pydantic import Field

from collector.settings.mapping import Definition


class Normalise(StrEnum):
    """What is done to a value before it is compared; blanks around it are always taken away."""

    STRIP_ZEROS = "strip_zeros"  # leading zeros of a number, as SAP pads it; `00A7` is no number
    UPPER = "upper"
    ALNUM = "alnum"  # keep letters and digits only


class Check(StrEnum):
    """A standard by which a value proves itself: its form, and check digits modulo 97."""

    ISO_11649 = "iso_11649"  # structured creditor reference
    IBAN = "iban"  # ISO 13616


class ReferenceKind(Definition):
    """A kind of reference. What it says holds wherever a mapping names the kind.

    A value that fails its `check`, or is one of `defaults`, names nothing in particular: it is kept to be
    searched, and neither joins nor links.
    """

    title: str = Field("", description="What is called so")
    within: str = Field(
        "",
        description="Within what a value is unique; a mapping then says so by `scope`, where it joins or links",
        examples=["company code and fiscal year"],
    )
    normalise: list[Normalise] = Field(
        [], description="What is done to a value before it is compared, in this order"
    )
    check: Check | None = Field(
        None,
        description="The standard whose check digits it carries; it is compared without blanks, in capitals",
    )
    defaults: list[str] = Field(
        [], description="Words that fill the field and name nothing", examples=[["NOTPROVIDED"]]
    )
    max_documents: int | None = Field(
        None,
        description="A value that more documents hold as identity joins nothing; by default that of `limits`",
        ge=2,
    )


PLAIN: Final = ReferenceKind.model_validate({})
"""A kind of which nothing is said, such as a document's that one mapping makes."""

Kinds = MappingOf[str, ReferenceKind]

LIKE_ANOTHER = 0.85
"""How alike two names of kinds are, from 0 to 1, before one is taken for a slip of the other."""


@cache
def built_in() -> Kinds:
    """Return the kinds that every configuration knows."""
    text = (resources.files("collector.settings") / "kinds.yaml").read_text(encoding="utf-8")
    return {name: ReferenceKind.model_validate(said) for name, said in yaml.safe_load(text).items()}


def kinds(own: Kinds) -> Kinds:
    """Return the kinds there are: those built in, with what a configuration says of them and of its own."""
    known = built_in()
    return {**known, **{name: _over(known.get(name), kind) for name, kind in own.items()}}


def slip_of(name: str, known: Iterable[str]) -> str | None:
    """Return the known kind that a name looks like a slip or the plural of, if it is not known itself."""
    names = set(known)
    if name in names:
        return None
    return next(iter(difflib.get_close_matches(name, names, n=1, cutoff=LIKE_ANOTHER)), None)


def _over(known: ReferenceKind | None, own: ReferenceKind) -> ReferenceKind:
    if known is None:
        return own
    return known.model_copy(update={name: getattr(own, name) for name in own.model_fields_set})
