"""Parameters of checks: which of them name steps of the control's flows."""

from collections.abc import Iterator
from typing import Annotated, NamedTuple

from pydantic import BaseModel

from collector.settings.mapping import Kind
from collector.settings.tree import Loc


class NamesStep(NamedTuple):
    """Marks a parameter that names a step, or a list of steps.

    A `needed` one must be a step of every flow of the control; another one, if it is written, of any.
    """

    needed: bool


NeededStep = Annotated[Kind, NamesStep(needed=True)]
NeededSteps = Annotated[list[Kind], NamesStep(needed=True)]
StepIfAny = Annotated[Kind, NamesStep(needed=False)]
StepsIfAny = Annotated[list[Kind], NamesStep(needed=False)]


class NamedStep(NamedTuple):
    """A step that parameters name: where in them, and whether they were given or are the default."""

    place: Loc
    name: str
    needed: bool
    given: bool


def named_steps(parameters: BaseModel) -> Iterator[NamedStep]:
    """List the steps that parameters name, in the order of their definition."""
    for key, field in type(parameters).model_fields.items():
        given = key in parameters.model_fields_set
        for mark in field.metadata:
            if isinstance(mark, NamesStep):
                value = getattr(parameters, key)
                if isinstance(value, str):
                    yield NamedStep((key,), value, mark.needed, given)
                else:
                    for i, name in enumerate(value):
                        yield NamedStep((key, i), name, mark.needed, given)


def needed_steps(parameters: BaseModel) -> tuple[str, ...]:
    """Return the steps without which a check cannot judge; none: it looks at the whole flow."""
    return tuple(step.name for step in named_steps(parameters) if step.needed)
