"""Options of a command from the signatures and docstrings of what it calls: each is declared once."""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import docstring_parser
from cyclopts import Parameter

from eegzarr.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
# What stands for a value in the help, by the name of its parameter; else the name itself.
_METAVARS = {
    "lake": "LAKE",
    "memory_limit": "SIZE",
    "shard_size": "SIZE",
    "max_memory": "SHARE",
    "scheduler": "ADDRESS",
    "scheduler_file": "FILE",
    "log_dir": "DIR",
    "data_dir": "DIR",
    "l_freq": "HZ",
    "h_freq": "HZ",
    "notch": "HZ|sidecar",
    "step": "UV|auto",
    "sfreq": "HZ",
    "source": "DIR|URL",
    "windows": "TABLE.tsv",
    "fractions": "TRAIN VALID TEST",
    "model_arg": "KEY=VALUE",
    "augment": "NAME[:P]",
    "config": "FILE",
}


def options_of(
    declared: Callable[..., Any],
    *,
    only: Collection[str] = (),
    leave_out: Collection[str] = (),
    renamed: Mapping[str, str] | None = None,
    negative: Mapping[str, str] | None = None,
) -> Callable[[F], F]:
    """Give a command that takes ``**options`` the keyword parameters of a function or a dataclass.

    Their types, defaults and descriptions are those of `declared` and of its numpydoc docstring. The command is called
    with those alone that the command line gives.

    Parameters
    ----------
    declared : callable
        Where the options are declared.
    only : collection of str
        The parameters to take; empty for all.
    leave_out : collection of str
        Parameters that aren't options.
    renamed : mapping of str to str, optional
        Options by parameter where they differ: ``{"keep_start_kit_exclusions": "--keep-excluded"}``.
    negative : mapping of str to str, optional
        The option that turns a switch off, by parameter.
    """
    names, off = dict(renamed or {}), dict(negative or {})

    def decorate(command: F) -> F:
        described = descriptions(declared)
        own = inspect.signature(command)
        kept = [p for p in own.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        taken = {*leave_out, *(p.name for p in kept)}
        added = []
        for parameter in inspect.signature(declared).parameters.values():
            if only and parameter.name not in only:
                continue
            if parameter.name in taken or parameter.kind is inspect.Parameter.VAR_KEYWORD:
                continue
            hint = as_typed(evaluated(declared, parameter.annotation))
            settings: dict[str, Any] = {"help": described.get(parameter.name, "")}
            settings |= {"name": names[parameter.name]} if parameter.name in names else {}
            settings |= {"negative": off[parameter.name]} if parameter.name in off else {}
            annotation = _with(hint, Parameter(**settings))
            default = factory_default(declared, parameter)
            added.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default))
        hints = get_type_hints(command, include_extras=True)
        command.__signature__ = own.replace(parameters=[*kept, *added])  # type: ignore[attr-defined]
        command.__annotations__ = {name: hint for name, hint in hints.items() if name in {p.name for p in kept}} | {
            p.name: p.annotation for p in added
        }
        return command

    return decorate


def descriptions(declared: Callable[..., Any]) -> dict[str, str]:
    """Return what a numpydoc docstring says of each parameter, in one line each."""
    found = {}
    for parameter in docstring_parser.parse(declared.__doc__ or "", docstring_parser.DocstringStyle.NUMPYDOC).params:
        for name in parameter.arg_name.split(","):
            found[name.strip()] = " ".join((parameter.description or "").split())
    return found


def evaluated(declared: Callable[..., Any], annotation: Any) -> Any:
    """Return an annotation that ``from __future__ import annotations`` has left as a text."""
    if not isinstance(annotation, str):
        return annotation
    return eval(annotation, vars(sys.modules[declared.__module__]))


def factory_default(declared: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """Return a parameter's default, made where a dataclass makes it."""
    fields = getattr(declared, "__dataclass_fields__", {})
    field = fields.get(parameter.name)
    return field.default_factory() if field is not None and callable(field.default_factory) else parameter.default


def as_typed(hint: Any) -> Any:
    """Return how a value is typed on a command line: a number or a text is a text, which the function reads."""
    if get_origin(hint) not in (Union, types.UnionType):
        return hint
    members = get_args(hint)
    typed = str if str in members else next(m for m in members if m is not type(None))
    return typed | None if type(None) in members else typed


def annotated(command: Callable[..., Any]) -> None:
    """Complete the parameters of a command with what all commands share: descriptions, placeholders, strict numbers."""
    described = descriptions(command)
    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    parameters = []
    for parameter in signature.parameters.values():
        hint = hints.get(parameter.name, parameter.annotation)
        told = {"help": described[parameter.name]} if described.get(parameter.name) else {}
        shared = Parameter(
            metavar=_metavar(parameter.name, hint),
            converter=_whole_number if _kind(hint) is int else None,
            **told,  # type: ignore[arg-type]
        )
        hint = _with(hint, shared)
        hints[parameter.name] = hint
        parameters.append(parameter.replace(annotation=hint))
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {name: hint for name, hint in hints.items() if name != "return"}


def _with(hint: Any, shared: Parameter) -> Any:
    """Add a parameter's settings below those that it has already."""
    if get_origin(hint) is Annotated:
        plain, *settings = get_args(hint)
        return Annotated[(plain, shared, *settings)]
    return Annotated[hint, shared]


def _kind(hint: Any) -> Any:
    """Return the type of a value, without what it is annotated with and without None."""
    if get_origin(hint) is Annotated:
        return _kind(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        members = [member for member in get_args(hint) if member is not type(None)]
        return members[0] if len(members) == 1 else hint
    return hint


def _metavar(name: str, hint: Any) -> str:
    kind = _kind(hint)
    if name in _METAVARS:
        return _METAVARS[name]
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    return {int: "N", float: "NUMBER"}.get(kind, name.upper().replace("_", "-"))


def _whole_number(_: Any, tokens: Iterable[Any]) -> int:
    """Read a whole number: 2.5 workers are a mistake, not two."""
    (token,) = tokens
    try:
        return int(token.value)
    except ValueError:
        raise UsageError(f"{token.keyword or token.value} must be a whole number, got {token.value!r}") from None
