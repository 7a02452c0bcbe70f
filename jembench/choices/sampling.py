"""Sampling: from what a user asks of generated images to the evaluators that look at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jembench.choices.protocols import V1, check_fixed
from jembench.evaluators.chains import Chains
from jembench.evaluators.generation import Generation, Looker
from jembench.types import UserError
from jembench.zoo import catalogue, extractors

if TYPE_CHECKING:
    from jembench.choices.protocols import Protocol
    from jembench.choices.request import Sampling
    from jembench.data.sets import Track
    from jembench.zoo.catalogue import ModelSpec


def generation(spec: ModelSpec, track: Track, sampling: Sampling, *, protocol: Protocol = V1) -> Generation:
    """The evaluator of suite ``generation``.

    Raises:
        UserError: for an extractor that is unknown, of another track or without weights, steps or a temperature for a
            model without chains, a filter by the confidence of a model that has none, or what the protocol has fixed.
    """
    if protocol != V1:
        return _published(spec, track, sampling, protocol)
    if "sampler" in spec.capabilities and "chain" not in spec.capabilities:
        for what in ("steps", "temperature"):
            if getattr(sampling, what) is not None:
                raise UserError(f"model {spec.name!r} draws exact samples, without a chain: leave out its {what}")
    if sampling.keep_top < 1 and "sampler" in spec.capabilities and "classifier" not in spec.capabilities:
        raise UserError(f"model {spec.name!r} has no confidence to keep the top of: leave out keep-top")
    return Generation(
        looker(track, sampling), steps=sampling.steps, temperature=sampling.temperature, keep_top=sampling.keep_top
    )


def _published(spec: ModelSpec, track: Track, sampling: Sampling, protocol: Protocol) -> Generation:
    """What a published protocol looks at; the extractor is the user's."""
    check_fixed(protocol, sampling, free=("extractor", "weights"))
    chosen = protocol.keep_fd < 1 or protocol.keep_is < 1
    if chosen and "sampler" in spec.capabilities and "classifier" not in spec.capabilities:
        raise UserError(f"model {spec.name!r} has no confidence, by which protocol {protocol.name!r} chooses samples")
    splits = track.published_fid if protocol.reference == "train+test" else ("train",)
    return Generation(
        looker(track, sampling),
        keep_top=protocol.keep_fd,
        rows=protocol.samples,
        reference=tuple(source.name for source in track.sources if source.name in splits),
        keep_is=None if protocol.keep_is == protocol.keep_fd else protocol.keep_is,
        by_class=protocol.keep_within == "class",
        rounded=protocol.rounded,
    )


def chains(track: Track, sampling: Sampling) -> Chains:
    """The evaluator of long chains: always those of the training.

    Raises:
        UserError: as :func:`generation`, of the extractor.
    """
    return Chains(looker(track, sampling))


def looker(track: Track, sampling: Sampling) -> Looker:
    """The feature extractor, the track's own by default."""
    name = sampling.extractor or track.extractor
    extractor = extractors.of_track(name, track)
    spec = catalogue.extractor(name, track=track.ref, weights=sampling.weights)
    return Looker(name, spec.fingerprint, extractor.distance, extractor.kernel)
