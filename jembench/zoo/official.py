r"""Official checkpoints: the files that the authors of JEM, JEM++, SADA-JEM and VERA publish, made models of jembench.

All four hold the same network (:mod:`jembench.models.wrn`) for pixels in [-1, 1] and differ in how it was trained;
JEM, JEM++ and SADA-JEM keep the persistent chains of the training beside it (``{model_state_dict, replay_buffer}``).
A checkpoint says neither what it is nor how it was trained; its names and shapes do, as far as they can:

- JEM (Grathwohl et al., ICLR 2020, arXiv 1912.03263) has a head that it never uses, ``f.linear``;
- JEM++ (Yang & Ji, ICCV 2021, arXiv 2109.09032) has its layers twice, also as ``f.layer_one`` and ``f.other_layers``;
- SADA-JEM (Yang et al., CVPR 2023, arXiv 2209.07959) has neither (nor has a JEM++ without its split network);
- VERA (Grathwohl et al., ICLR 2021, arXiv 2010.04230) is ``logp_net``, with ``logp_net.linear`` as its head;

depth is 6n + 4 for n blocks per stage, width the channels of the first stage over 16, K the rows of the head. In our
units :math:`x = u / 2 + 1/2` for theirs :math:`u \in [-1, 1]`: the network gets mean = std = 0.5, and since
:math:`\nabla_u = \nabla_x / 2` and a step moves x by half of what it moves u,

.. math::
    u' = u + a \nabla_u \log p + s\, \xi \quad\Longleftrightarrow\quad
    x' = x + \tfrac{a}{4} \nabla_x \log p + \tfrac{s}{2}\, \xi,

with a bound c on the elements of the gradient becoming 2c. A checkpoint does not hold the settings. Their one source is
the packaged recipe of the paper (``jembench/zoo/papers/<track>/<layout>.toml``, see ``jembench list recipes``): a
conversion takes all of it but the network, which the checkpoint tells, and its words on what is not as published.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping, Sized
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jembench import data
from jembench.data import cache, external
from jembench.ground import files
from jembench.ground.identity import identity
from jembench.models.recipes import Recipe, read_recipe
from jembench.types import UserError, unknown
from jembench.zoo import baselines, checkpoints
from jembench.zoo.baselines import WEIGHTS
from jembench.zoo.checkpoints import is_plain
from jembench.zoo.matches import bare
from jembench.zoo.references import RECIPE
from jembench.zoo.weights import difference, renamed, save_tensors, state_dict

if TYPE_CHECKING:
    from torch import Tensor

    from jembench.data.sets import Source, Track

VERSION = 2  # of conversions; raised by every change of what they write
FARTHEST = 2.0  # mean |u| of a replay buffer on -1..1: chains that are not clamped leave it, by little
SOFTMAX = "softmax"  # any of the networks as a classifier that was trained as nothing else


@dataclass(frozen=True)
class Layout:
    """What a kind of checkpoint is. How it is trained stands in the packaged recipe of its name, if it has chains.

    Attributes:
        title: of the method.
        mark: a start of names that only its checkpoints have; none for what is left.
    """

    title: str
    mark: str


LAYOUTS = {
    "jem": Layout("JEM", "f.linear."),
    "jempp": Layout("JEM++", "f.layer_one."),
    "sadajem": Layout("SADA-JEM", ""),
    "vera": Layout("VERA", "logp_net."),
}
NAMES = (*LAYOUTS, SOFTMAX)


@dataclass(frozen=True)
class Checkpoint:
    """An official checkpoint, read.

    Attributes:
        path: of its file.
        layout: a key of :data:`LAYOUTS`.
        state: the network's tensors, by the names of :class:`jembench.models.wrn.WideResNet`.
        chains: the replay buffer ``(N, C, H, W)`` in our [0, 1], not clamped; None if it has none.
        depth: of the network.
        width: of the network.
        norm: of the network.
        channels: of an image.
        classes: number of logits K.
    """

    path: Path
    layout: str
    state: dict[str, Tensor]
    chains: Tensor | None
    depth: int
    width: int
    norm: str
    channels: int
    classes: int

    @property
    def network(self) -> str:
        """The network in words.

        >>> Checkpoint(Path("x.pt"), "jem", {}, None, 28, 10, "none", 3, 10).network
        'WRN-28-10, norm none, 10 classes'
        """
        return f"WRN-{self.depth}-{self.width}, norm {self.norm}, {self.classes} classes"

    @property
    def sampled(self) -> bool:
        """Whether it is a model with chains: its training had some, and they are here."""
        return self.layout in baselines.published(data.PAPERS) and self.chains is not None


def read(path: Path, *, layout: str | None = None, norm: str | None = None) -> Checkpoint:
    """Read an official checkpoint; no code in it is run.

    Args:
        path: of the file.
        layout: what it is, a key of :data:`LAYOUTS`, where the names leave a choice.
        norm: ``instance`` or ``layer``: the two have the same names and shapes.

    Raises:
        UserError: if it cannot be read, holds code, is of no known layout, or not of the one that was asked for.
    """
    from jembench.models.wrn import from_official

    content = checkpoints.read(path).content
    tensors = renamed(state_dict(content, path), bare, path)
    form = _layout(tensors, path, layout)
    try:
        state = from_official(tensors)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    depth, width, kind, channels, classes = _described(state, path, norm)
    state = {name: _finite(_dense(tensor, name, path), name, path) for name, tensor in state.items()}
    chains = content.get("replay_buffer") if isinstance(content, Mapping) else None
    return Checkpoint(path, form, state, _unit(chains, channels, path), depth, width, kind, channels, classes)


def recognised(path: Path) -> bool:
    """Whether a file has the names of an official checkpoint, be it whole or not.

    Raises:
        UserError: if it cannot be read, or holds code.
    """
    content = checkpoints.read(path).content
    try:
        return bool(_matches(renamed(state_dict(content, path), bare, path)))
    except UserError:
        return False


def _matches(state: Mapping[str, Tensor]) -> list[str]:
    """The layouts that the names of a state dict may be of, the likeliest first."""
    marked = [name for name, each in LAYOUTS.items() if each.mark and any(key.startswith(each.mark) for key in state)]
    if marked or not {"f.conv1.weight", "class_output.weight"} <= state.keys():
        return marked
    return ["sadajem", "jempp"]  # a JEM++ without its split network has the names of a SADA-JEM


def _layout(state: Mapping[str, Tensor], path: Path, asked: str | None) -> str:
    """The layout of a state dict by its names."""
    if asked is not None and asked not in LAYOUTS:
        raise unknown("layout", asked, LAYOUTS)
    possible = _matches(state)
    if not possible:
        raise UserError(
            f"{path}: is no checkpoint of JEM, JEM++, SADA-JEM or VERA: it begins with "
            f"{next(iter(state))!r}; name the code of its network: --model file.py:build --weights {path.name}"
        )
    if asked is None:
        return possible[0]
    if asked not in possible:
        names = LAYOUTS[possible[0]].title
        raise UserError(f"{path}: has the layout of {names}, not of {LAYOUTS[asked].title}: ask for {possible[0]!r}")
    return asked


def _described(state: Mapping[str, Tensor], path: Path, asked: str | None) -> tuple[int, int, str, int, int]:
    """Depth, width, norm, channels and classes of a network, every shape of which is checked."""
    import torch

    from jembench.models.wrn import WideResNet

    for name, axes in {"f.conv1.weight": 4, "f.layer1.0.conv1.weight": 4, "class_output.weight": 2}.items():
        shape = None if name not in state else tuple(state[name].shape)
        if shape is None or len(shape) != axes or 0 in shape:
            fault = "is missing" if shape is None else f"has shape {shape}"
            raise UserError(f"{path}: is no wide residual network: {name!r} {fault}")
    channels, first = state["f.conv1.weight"].shape[1], state["f.layer1.0.conv1.weight"].shape[0]
    classes = state["class_output.weight"].shape[0]
    blocks = {name.split(".")[2] for name in state if name.startswith("f.layer1.")}
    depth, width = 6 * len(blocks) + 4, max(1, first // 16)
    norm = _norm(state, path, asked)
    try:
        with torch.device("meta"):
            network = WideResNet(shape=(channels, 32, 32), classes=classes, depth=depth, width=width, norm=norm)
    except (ValueError, TypeError, OverflowError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: is no wide residual network: {reason}") from error
    if problem := difference(network.state_dict(), state):
        raise UserError(f"{path}: is not a whole WRN-{depth}-{width} with norm {norm}: {problem}")
    return depth, width, norm, channels, classes


def _norm(state: Mapping[str, Tensor], path: Path, asked: str | None) -> Any:
    """The norm of a network by what its norm layers hold, all of them: one may lack what the others have."""
    parts = [name.split(".") for name in state if name.startswith("f.")]
    leaves = {part[-1] for part in parts if part[-2] in ("bn1", "bn2")}
    batch, act = leaves & {"running_mean", "running_var", "num_batches_tracked"}, leaves & {"loc", "scale"}
    if not leaves or batch or act:
        kind = "none" if not leaves else "batch" if batch else "act"
        if asked not in (None, kind):
            raise UserError(f"{path}: has norm {kind!r}, not {asked!r}")
        return kind
    if asked not in ("instance", "layer"):
        raise UserError(
            f"{path}: has norm 'instance' or 'layer', which have the same tensors: say which by "
            "`jembench convert --norm instance` or `--norm layer`"
        )
    return asked


def _dense(tensor: Tensor, name: str, path: Path) -> Tensor:
    """A tensor that lies as it says: a small file may claim a huge one by strides of 0."""
    if not is_plain(tensor) or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise UserError(f"{path}: {name} is not a plain tensor")
    return tensor.contiguous()


def _finite(tensor: Tensor, name: str, path: Path) -> Tensor:
    """A tensor of weights that are numbers, also in fp32."""
    if tensor.is_floating_point() and not bool(tensor.float().isfinite().all()):
        raise UserError(f"{path}: {name} holds NaN or infinite numbers: the training diverged, or the file is damaged")
    return tensor


def _apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors, none in the memory of another, as they are written; copied only where they were."""
    tensors: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in state.items():
        place = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if place in places else tensor
        places.add(place)
    return tensors


def _unit(chains: Any, channels: int, path: Path) -> Tensor | None:
    """A replay buffer of pixels in [-1, 1] as chains in [0, 1], in place where it is of fp32: it may be 123 MB."""
    import torch

    if isinstance(chains, torch.Tensor):
        if not is_plain(chains):
            raise UserError(f"{path}: replay_buffer is not a plain tensor")
        if chains.ndim > 0 and len(chains) == 0:
            return None
    elif chains is None or (isinstance(chains, Sized) and len(chains) == 0):
        return None
    if not isinstance(chains, torch.Tensor) or chains.ndim != 4 or not chains.is_floating_point():
        raise UserError(f"{path}: its replay_buffer is no tensor of images (N, C, H, W)")
    if chains.shape[1] != channels or len(chains) < 2:
        raise UserError(f"{path}: its replay_buffer has shape {tuple(chains.shape)}, its network {channels} channels")
    x = _dense(chains.detach(), "replay_buffer", path).float()
    if not bool(x.isfinite().all()):
        raise UserError(f"{path}: its replay_buffer holds NaN or infinite pixels")
    low, high = x.min().item(), x.max().item()
    if low >= 0 < high or x.abs().mean() > FARTHEST:
        raise UserError(
            f"{path}: its replay_buffer has pixels from {low:.3g} to {high:.3g}: chains of JEM are on -1..1, 0 is "
            "grey; bring it to that scale, or leave it out"
        )
    return x.mul_(0.5).add_(0.5)


def convert(
    checkpoint: Checkpoint, output: Path, *, track: Track, softmax: bool = False, gaussians: bool = False
) -> Path:
    """Write ``recipe.toml`` and ``weights.safetensors`` of a checkpoint into the new folder ``output``.

    Args:
        checkpoint: read by :func:`read`; of its chains as many are kept as are lanes of equal length for its batch.
        output: a folder that is not there yet.
        track: what it was trained on.
        softmax: read it as a softmax classifier, without its chains.
        gaussians: fit the Gaussian per class where the chains of JEM++ and SADA-JEM begin to the training images of the
            track (minutes), as these methods do; without, fresh chains begin at uniform noise. The recipe says which,
            and of how many images.

    Returns:
        The path of the recipe.

    Raises:
        UserError: if it is of other images or classes than the track, if the images are wanted and not there or of too
            few classes, or if ``output`` holds anything or cannot be written.
    """
    _check(checkpoint, track)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not empty: choose another folder, nothing is overwritten")
    sampler = checkpoint.sampled and not softmax
    source = data.found(track, "train") if sampler and gaussians and informed(checkpoint, track) else None
    text = _sampled(checkpoint, track, source) if sampler else _classifier(checkpoint, track)
    recipe = Recipe.model_validate(tomllib.loads(text))
    tensors = {f"network.{name}": tensor for name, tensor in checkpoint.state.items()}
    if sampler:
        assert checkpoint.chains is not None
        assert recipe.sampling is not None
        tensors |= _chains(checkpoint.chains[: recipe.sampling.buffer])
        if recipe.sampling.start == "gaussian":
            tensors |= _gaussians(track)
    with files.folder(output) as folder:
        (folder / RECIPE).write_text(text, encoding="utf-8")
        save_tensors(_apart(tensors), folder / WEIGHTS)
    return output / RECIPE


def informed(checkpoint: Checkpoint, track: Track) -> bool:
    """Whether the chains of its training began at Gaussians of the training images."""
    sampling = read_recipe(_paper(checkpoint, track)).sampling if checkpoint.sampled else None
    return sampling is not None and sampling.start == "gaussian"


def at_hand(track: Track) -> bool:
    """Whether there are files with the training images of a track on this machine, be they damaged."""
    source = track.source("train")
    return source.part is None or bool(external.here(track, source))


def _paper(checkpoint: Checkpoint, track: Track) -> Path:
    """The packaged recipe of the paper: for the track, or else for :data:`jembench.data.PAPERS`."""
    return (baselines.published(data.PAPERS) | baselines.published(track.name))[checkpoint.layout]


def cached(path: Path, *, track: Track, asked: str | None) -> Path:
    """The recipe of a checkpoint, converted into the cache of this machine unless it is there.

    Args:
        path: of the checkpoint.
        track: what it was trained on.
        asked: one of :data:`NAMES` that it is to be read as, if any.

    Raises:
        UserError: see :func:`read` and :func:`convert`.
    """
    key = identity({"version": VERSION, "file": checkpoints.digest(path), "track": track.id, "as": asked})
    place = cache.converted(key)
    if not (place / RECIPE).is_file():
        checkpoint = read(path, layout=None if asked == SOFTMAX else asked)
        try:
            convert(checkpoint, place, track=track, softmax=asked == SOFTMAX)
        except UserError:
            if not (place / RECIPE).is_file():  # or else another process was faster
                raise
    return place / RECIPE


def _check(checkpoint: Checkpoint, track: Track) -> None:
    """Refuse a checkpoint of another track."""
    shape = (checkpoint.channels, *track.shape[1:]) if checkpoint.chains is None else tuple(checkpoint.chains.shape[1:])
    if checkpoint.classes != track.classes or shape != track.shape:
        raise UserError(
            f"{checkpoint.path}: is a {checkpoint.network}, for images of shape {shape}; track {track.name} has "
            f"{track.classes} classes and images of shape {track.shape}"
        )


def _chains(chains: Tensor) -> dict[str, Tensor]:
    """The persistent chains of a sampler; of no class, since a chain that starts again changes it unrecorded."""
    return {"sampler.chains": chains, "sampler.labels": chains.new_full((len(chains),), -1).long()}


def _gaussians(track: Track) -> dict[str, Tensor]:
    """Where the chains begin."""
    import torch

    from jembench.langevin.starts import ClassGaussians

    images = data.images(track, "train")
    for y in range(track.classes):
        if not (images.labels == y).any():
            raise UserError(
                f"{track.name}/train: no image of class {y} is here, so its Gaussian cannot be fitted: add some, or "
                "convert with --data-dir naming a folder without training images, for chains that begin at noise"
            )
    origin = ClassGaussians(shape=track.shape, classes=track.classes)
    origin.fit(lambda y: torch.from_numpy(images.of_class(y)))
    return {f"sampler.origin.{name}": tensor for name, tensor in origin.state_dict().items()}


def _classifier(checkpoint: Checkpoint, track: Track) -> str:
    """The text of ``recipe.toml`` of a checkpoint as a classifier."""
    title = LAYOUTS[checkpoint.layout].title
    head = (
        "It evaluates the network as a classifier, and log p(x) = logsumexp f(x), which needs no chains: the",
        "checkpoint has none, or they were left out. It does not say how the network was trained: [training] is a",
        "matter of form.",
    )
    parts = {"model": {"kind": SOFTMAX, **_network(checkpoint)}, "training": {"iterations": 1}}
    return _text(checkpoint, track, head, f"{title}, official checkpoint, without chains", parts)


def _sampled(checkpoint: Checkpoint, track: Track, fitted: Source | None) -> str:
    """The text of ``recipe.toml`` of a checkpoint with its chains: the paper's recipe, its words included.

    ``fitted`` are the images that the Gaussians where chains begin are fitted to, if they are.
    """
    assert checkpoint.chains is not None
    source = _paper(checkpoint, track)
    text = source.read_text(encoding="utf-8")
    paper = tomllib.loads(text)
    parts: dict[str, dict[str, Any]] = {name: part for name, part in paper.items() if isinstance(part, dict)}
    n = len(checkpoint.chains)
    batch = min(parts["training"]["batch"], n)
    buffer = n - n % batch
    about = f"{LAYOUTS[checkpoint.layout].title}, official checkpoint"
    head = []
    if buffer < n:
        head.append(f"Of {n} chains the first {buffer} are kept: a batch of {batch} has lanes of equal length.")
    settings: dict[str, Any] = {"buffer": buffer}
    if parts["sampling"]["start"] == "gaussian" and fitted is None:
        settings["start"] = "uniform"
        about += ", fresh chains from uniform noise"
        head.append("Fresh chains begin at uniform noise here, not at Gaussians of the training images.")
    elif fitted is not None and fitted.n < (complete := track.source("train").n):
        about += f", fresh chains from Gaussians of {fitted.n} of {complete} training images"
        head.append(f"The Gaussians where fresh chains begin are of {fitted.n} of the {complete} training images.")
    if paper["track"] != track.name:  # digits and house numbers: a mirrored digit is another sign
        parts["data"]["flip"] = False
        head.append(
            f"The paper's recipe for {track.name} is not packaged: this is the one for {paper['track']}, without"
        )
        head.append("mirrored images.")
    head.append("Pixels in [0, 1]. The settings, which a checkpoint does not hold, are those of jembench/zoo/papers/")
    head.append(f"{paper['track']}/{source.name}, and so are the words that follow.")
    head += [line.removeprefix("# ") for line in takewhile(lambda line: line.startswith("#"), text.splitlines())]
    parts["model"] = {"kind": "jem", **_network(checkpoint)}
    parts["sampling"] |= settings
    parts["training"] |= {"batch": batch}
    return _text(checkpoint, track, head, about, parts)


def _network(checkpoint: Checkpoint) -> dict[str, Any]:
    """The network of a checkpoint, for pixels in [0, 1]."""
    return {
        "network": "wrn",
        "depth": checkpoint.depth,
        "width": checkpoint.width,
        "norm": checkpoint.norm,
        "mean": 0.5,
        "std": 0.5,
    }


def _text(
    checkpoint: Checkpoint, track: Track, head: Iterable[str], about: str, parts: Mapping[str, Mapping[str, Any]]
) -> str:
    """A recipe with ``head`` as a comment above it."""
    title = LAYOUTS[checkpoint.layout].title
    first = f"Converted by jembench from {json.dumps(checkpoint.path.name)}, a checkpoint in the layout of {title}."
    lines = [*(f"# {line}" for line in (first, *head)), f"track = {json.dumps(track.name)}"]
    lines.append(f"about = {json.dumps(about)}")
    for name, part in parts.items():
        lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in part.items())]
    return "\n".join(lines) + "\n"
