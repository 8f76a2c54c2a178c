"""What a config model is made of: its keys, and which of them only say how to run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, Discriminator
from pydantic.fields import FieldInfo

from candor.config.base import Later, Runtime


def is_runtime(field: FieldInfo) -> bool:
    """True if the field is marked ``Runtime``, also inside a union: ``Annotated[int, Runtime] | None``."""
    return Runtime in field.metadata or _mentions_runtime(field.annotation)


def is_unsaid(field: FieldInfo, value: object) -> bool:
    """True if the field is marked ``Later`` and has its default."""
    return Later in field.metadata and bool(value == field.default)


def _mentions_runtime(annotation: Any) -> bool:
    if get_origin(annotation) is Annotated and Runtime in annotation.__metadata__:
        return True
    return any(_mentions_runtime(arg) for arg in get_args(annotation))


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every config model an annotation mentions: itself, members of unions, items of containers."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for arg in get_args(annotation):
        yield from models_in(arg)


def dotted_keys(model: type[BaseModel], at: str = "", seen: tuple[type[BaseModel], ...] = ()) -> list[str]:
    """Every dotted key that ``model`` accepts, in field order; recursion in a model is cut at its first repeat."""
    keys: list[str] = []
    for name, field in model.model_fields.items():
        keys.append(at + name)
        for inner in models_in(field.annotation):
            if inner not in seen:
                keys += dotted_keys(inner, f"{at}{name}.", (*seen, model))
    return list(dict.fromkeys(keys))


def by_kind(name: str, *kinds: str, default: str | None = None) -> Discriminator:
    """Tells the members of a union by ``kind``, each tagged with its own.

    Args:
        name: of the error that another kind gives.
        default: the kind of a mapping that states none, so that one field of a variant may be set alone.
    """

    def kind(value: Any) -> Any:
        return value.get("kind", default) if isinstance(value, dict) else getattr(value, "kind", None)

    message = f"kind must be {', '.join(kinds[:-1])} or {kinds[-1]}"
    return Discriminator(kind, custom_error_type=name, custom_error_message=message)
