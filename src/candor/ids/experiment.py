"""From names on the command line to a resolved experiment, and where each of its values came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from candor.config.layers import Layer, Merged, build, merge, set_layers
from candor.config.presets import load_preset
from candor.config.settings import Settings
from candor.errors import ConfigError, SourceMissing, UnknownKey
from candor.ids import flow_catalog
from candor.ids.catalog import DatasetPreset, dataset_preset, discover
from candor.ids.config import ExperimentConfig, VariantConfig, window_kind
from candor.ids.graphs.findings import refuse_unknown
from candor.ids.registry import filed_elsewhere

#: How the origin of a key begins whose value only the files of the data set would tell.
UNKNOWN = "unknown"

#: Sections that every variant has; stated at the top of a layer they hold for all variants.
SHARED = tuple(name for name in VariantConfig.model_fields if name not in ("scale", "teacher"))


def resolve(
    experiment: str,
    dataset: str,
    sets: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    allow: Sequence[str] = (),
    settings: Settings | None = None,
    *,
    without_files: bool = False,
) -> tuple[ExperimentConfig, dict[str, str]]:
    """Merge base (the models' defaults) ← dataset ← model scale ← experiment ← ``--set``.

    Returns the config and, for every dotted key that a layer states, that layer's name. ``without_files``: what the
    captures are need not be known; keys that would tell are empty then, and their origin starts with UNKNOWN.

    Raises:
        PresetNotFound, UnknownKey, ConfigError: a name, key or value is wrong, or ``allow`` names no finding.
        SourceMissing: captures of the dataset are not on this machine.
    """
    settings = settings or Settings.from_env()
    preset = dataset_preset(dataset, data_root=settings.data_root)
    chosen = load_preset("experiments", experiment, data_root=settings.data_root)
    user = set_layers(sets)
    if seeds:
        user.append(Layer("--seed", {"seeds": list(seeds)}))
    if allow:
        user.append(Layer("--allow", {"audit_allow": list(allow)}))
    variants = _variants([chosen, *user])
    layers = [
        Layer("command line", {"experiment": experiment, "dataset": dataset}),
        Layer(f"presets/datasets/{dataset}.yaml", _dataset(preset)),
        *(_scale(name, scale, settings) for name, scale in variants.items()),
        chosen,
        *user,
    ]
    merged = merge(spread(layer, variants) for layer in _one_kind_of_window(layers))
    # A mistyped key or finding is told before a missing file.
    refuse_unknown(_build(merged).audit_allow)
    if not preset.generated:
        try:
            _add_captures(merged, preset, settings)
        except SourceMissing as e:
            if not without_files:
                raise
            unknown = ("ingest.sources",) if preset.flows else ("ingest.sources", "elsewhere")
            merged.origins.update(dict.fromkeys(unknown, f"{UNKNOWN}: {e.fact}"))
    return _build(merged), merged.origins


def _add_captures(merged: Merged, preset: DatasetPreset, settings: Settings) -> None:
    """What the files on this machine say. Raises SourceMissing."""
    origin = f"presets/datasets/{preset.name}.yaml"
    if preset.domain == "flow":
        flows = flow_catalog.discover(preset, settings)
        merged.values["ingest"]["sources"] = [s.model_dump() for s in flows]
    else:
        sources = discover(preset, settings)
        merged.values["ingest"]["sources"] = [s.model_dump() for s in sources]
        merged.values["elsewhere"] = [e.model_dump() for e in filed_elsewhere(preset, sources, settings)]
        merged.origins["elsewhere"] = origin
    merged.origins["ingest.sources"] = origin


def _dataset(preset: DatasetPreset) -> dict[str, Any]:
    """A dataset's layer. A generated one always has a ``synthetic`` section, any other never."""
    implied: dict[str, Any] = {"ingest": {"dataset": preset.name}}
    if preset.generated:
        implied["synthetic"] = {}
    if preset.domain == "flow":
        implied["ingest"]["domain"] = "flow"
        # Hosts are never known: there is no view of a vehicle shown as unknown, and none to be alarmed by.
        implied["fusion"] = {"unfamiliar_alarm_rate": 0.0}
    return merge([Layer("implied", implied), Layer("stated", preset.defaults)]).values


def _one_kind_of_window(layers: Sequence[Layer]) -> list[Layer]:
    """Without the window of another kind than the last one stated: seconds replace frames, they do not join them."""
    stated = [layer.values["window"] for layer in layers if isinstance(layer.values.get("window"), dict)]
    if not stated:
        return list(layers)
    kind = window_kind(stated[-1])

    def keeps(layer: Layer) -> bool:
        window = layer.values.get("window")
        return not isinstance(window, dict) or window_kind(window) == kind

    return [
        layer if keeps(layer) else Layer(layer.name, {k: v for k, v in layer.values.items() if k != "window"})
        for layer in layers
    ]


def spread(layer: Layer, variants: Iterable[str]) -> Layer:
    """Move the shared sections of a layer below every variant; what the layer states for one variant stays on top."""
    shared = {k: v for k, v in layer.values.items() if k in SHARED}
    if not shared:
        return layer
    rest = {k: v for k, v in layer.values.items() if k not in SHARED}
    everyone = Layer(layer.name, {"variants": dict.fromkeys(variants, shared)})
    return Layer(layer.name, merge([everyone, Layer(layer.name, rest)]).values)


def _variants(layers: Sequence[Layer]) -> dict[str, str]:
    """Variant name → model scale."""
    found: Any = merge(layers).values.get("variants")
    if not isinstance(found, dict) or not found:
        raise ConfigError("the experiment declares no variants", place=layers[0].name)
    for name, variant in found.items():
        if not isinstance(variant, dict) or not isinstance(variant.get("scale"), str):
            known = ", ".join(n for n, v in found.items() if isinstance(v, dict) and "scale" in v)
            raise ConfigError(
                f"variant '{name}' has no scale",
                place=f"variants.{name}",
                hint=f"Variants with one: {known or 'none'}.",
            )
    return {name: variant["scale"] for name, variant in found.items()}


def _scale(variant: str, scale: str, settings: Settings) -> Layer:
    preset = load_preset("models", scale, data_root=settings.data_root)
    return Layer(preset.name, {"variants": {variant: dict(preset.values)}})


def _build(merged: Merged) -> ExperimentConfig:
    try:
        return build(ExperimentConfig, merged)
    except UnknownKey as error:
        # Someone who wrote gat.hiden did not write variants.teacher.gat.hiden.
        names = merged.values.get("variants", {})
        fact, hint = error.fact, error.hint
        for prefix in (f"variants.{name}." for name in names):
            if any(f"'{prefix}{section}." in fact for section in SHARED):
                fact = fact.replace(prefix, "").replace(f" (and {len(names) - 1} more)", "")
                hint = hint.replace(prefix, "").replace("variants.", "") if hint else hint
        raise UnknownKey(fact, place=error.place, hint=hint) from None
