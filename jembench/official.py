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

with a bound c on the elements of the gradient becoming 2c. The settings are those that the papers train with: a
checkpoint does not hold them.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jembench import data, files
from jembench.baselines import RECIPE, WEIGHTS
from jembench.data import cache
from jembench.identity import file_sha256, identity
from jembench.recipes import Recipe
from jembench.types import UserError, unknown
from jembench.weights import difference, load_tensors, state_dict

if TYPE_CHECKING:
    from torch import Tensor

    from jembench.data.sets import Track

VERSION = 1  # of conversions; raised by every change that moves their numbers
BATCH = 64  # of all published runs: positions of a batch, so lanes of a replay buffer
SOFTMAX = "softmax"  # any of the networks as a classifier that was trained as nothing else


@dataclass(frozen=True)
class Layout:
    """What a kind of checkpoint is and how it is trained.

    Attributes:
        title: of the method.
        mark: a start of names that only its checkpoints have; none for what is left.
        sampling: its chains, in units of the [0, 1] pixel range; none if it has no chains.
        parts: the other parts of its recipe.
        notes: what the recipe cannot say or does otherwise.
    """

    title: str
    mark: str
    sampling: Mapping[str, Any] | None = None
    parts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


AUGMENTED = {"shift": 4, "padding": "reflect", "flip": True}
LAYOUTS = {
    "jem": Layout(
        "JEM",
        "f.linear.",
        {"steps": 20, "size": 0.25, "noise": 0.005, "clamp": False, "restart": 0.05, "start": "uniform"},
        {
            "data": {**AUGMENTED, "noise": 0.015},
            "optimiser": {
                "name": "adam",
                "learning_rate": 1e-4,
                "warmup": 1000,
                "decay": 0.3,
                "decay_at": [0.8, 0.9],
            },
            "training": {"iterations": 140600},
        },
        ("200 epochs of 45,000 images.",),
    ),
    "jempp": Layout(
        "JEM++",
        "f.layer_one.",
        {
            "steps": 10,
            "inner": 5,
            "size": 0.05,
            "noise": 0.0,
            "clip": 2.0,
            "clamp": True,
            "restart": 0.05,
            "start": "gaussian",
        },
        {
            "data": {**AUGMENTED, "noise": 0.015},
            "optimiser": {
                "name": "sgd",
                "learning_rate": 0.1,
                "momentum": 0.9,
                "weight_decay": 4e-4,
                "warmup": 1000,
                "decay": 0.2,
                "decay_at": [0.3333, 0.6667, 0.8333],
            },
            "training": {"iterations": 105450},
        },
        (
            "150 epochs of 45,000 images. The published script also moves by the whole gradient, step 1, unbounded,",
            "before the inner moves of each of its steps, and takes 5 x 5 of them, not the 10 x 5 of the paper.",
        ),
    ),
    "sadajem": Layout(
        "SADA-JEM",
        "",
        {
            "steps": 10,
            "size": 0.25,
            "noise": 0.0,
            "clip": 2.0,
            "clamp": True,
            "restart": 0.05,
            "start": "gaussian",
        },
        {
            "data": {**AUGMENTED, "shift_density": 0, "noise": 0.0},
            "optimiser": {
                "name": "sgd",
                "learning_rate": 0.1,
                "momentum": 0.9,
                "weight_decay": 5e-4,
                "warmup": 1000,
                "decay": 0.2,
                "decay_at": [0.3, 0.6, 0.9],
                "sam": 2.0,
                "adaptive": True,
            },
            "training": {"iterations": 78000},
        },
        (
            "200 epochs of 50,000 images in labelled batches of 128, beside batches of 64 for log p(x): here both have",
            "64. The paper has K = 5 or 10 steps. Its images for log p(x) are not mirrored, here both streams are.",
        ),
    ),
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
        return LAYOUTS[self.layout].sampling is not None and self.chains is not None


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

    content = load_tensors(path)
    given = state_dict(content, path)
    found = _layout(given, path, layout)
    try:
        state = from_official(given)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    depth, width, kind, channels, classes = _described(state, path, norm)
    state = {name: _dense(tensor, name, path) for name, tensor in state.items()}
    chains = content.get("replay_buffer") if isinstance(content, Mapping) else None
    return Checkpoint(path, found, state, _unit(chains, channels, path), depth, width, kind, channels, classes)


def _layout(state: Mapping[str, Tensor], path: Path, asked: str | None) -> str:
    """The layout of a state dict by its names."""
    if asked is not None and asked not in LAYOUTS:
        raise unknown("layout", asked, LAYOUTS)
    marked = [name for name, item in LAYOUTS.items() if item.mark and any(key.startswith(item.mark) for key in state)]
    if not marked and not {"f.conv1.weight", "class_output.weight"} <= state.keys():
        raise UserError(
            f"{path}: is a pickle (torch.save), but no checkpoint of JEM, JEM++, SADA-JEM or VERA: it begins with "
            f"{next(iter(state))!r}; save other networks with safetensors.torch.save_file"
        )
    possible = marked or ["sadajem", "jempp"]  # a JEM++ without its split network has the names of a SADA-JEM
    if asked is None:
        return possible[0]
    if asked not in possible:
        names = LAYOUTS[possible[0]].title
        raise UserError(f"{path}: has the layout of {names}, not of {LAYOUTS[asked].title}: ask for {possible[0]!r}")
    return asked


def _described(state: Mapping[str, Tensor], path: Path, asked: str | None) -> tuple[int, int, str, int, int]:
    """Depth, width, norm, channels and classes of a network, every shape of which is checked.

    Raises:
        UserError: if it is no whole wide residual network, or its norm cannot be told.
    """
    import torch

    from jembench.models.wrn import WideResNet

    try:
        (_, channels, *_), (first, *_) = state["f.conv1.weight"].shape, state["f.layer1.0.conv1.weight"].shape
        classes = int(state["class_output.weight"].shape[0])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: is no wide residual network: {error}") from error
    blocks = {name.split(".")[2] for name in state if name.startswith("f.layer1.")}
    depth, width = 6 * len(blocks) + 4, first // 16
    norm = _norm(state, path, asked)
    try:
        with torch.device("meta"):
            made = WideResNet(shape=(channels, 32, 32), classes=classes, depth=depth, width=width, norm=norm)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{path}: is no wide residual network: {error}") from error
    if problem := difference(made.state_dict(), state):
        raise UserError(f"{path}: is not a whole WRN-{depth}-{width} with norm {norm}: {problem}")
    return depth, width, norm, channels, classes


def _norm(state: Mapping[str, Tensor], path: Path, asked: str | None) -> Any:
    """The norm of a network by what its last norm layer holds."""
    held = {name.removeprefix("f.bn1.") for name in state if name.startswith("f.bn1.")}
    if not held or "running_mean" in held or "loc" in held:
        found = "none" if not held else "batch" if "running_mean" in held else "act"
        if asked not in (None, found):
            raise UserError(f"{path}: has norm {found!r}, not {asked!r}")
        return found
    if asked not in ("instance", "layer"):
        raise UserError(
            f"{path}: has norm 'instance' or 'layer', which have the same tensors: say which by "
            "`jembench convert --norm instance` or `--norm layer`"
        )
    return asked


def _dense(tensor: Tensor, name: str, path: Path) -> Tensor:
    """A tensor that lies as it says: a small file may claim a huge one by strides of 0."""
    import torch

    if tensor.layout != torch.strided or tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise UserError(f"{path}: {name} is not a plain tensor")
    return tensor.contiguous()


def _unit(chains: Any, channels: int, path: Path) -> Tensor | None:
    """A replay buffer of pixels in [-1, 1] as chains in [0, 1], in place where it is of fp32: it may be 123 MB."""
    import torch

    if chains is None or (hasattr(chains, "__len__") and len(chains) == 0):
        return None
    if not isinstance(chains, torch.Tensor) or chains.ndim != 4 or not chains.is_floating_point():
        raise UserError(f"{path}: its replay_buffer is no tensor of images (N, C, H, W)")
    if chains.shape[1] != channels or len(chains) < 2:
        raise UserError(f"{path}: its replay_buffer has shape {tuple(chains.shape)}, its network {channels} channels")
    x = _dense(chains.detach(), "replay_buffer", path).float()
    if not bool(torch.isfinite(x).all()):
        raise UserError(f"{path}: its replay_buffer holds NaN or infinite pixels")
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
            track (minutes), as these methods do; without, fresh chains begin at uniform noise.

    Returns:
        The path of the recipe.

    Raises:
        UserError: if it is of other images or classes than the track, if the images are wanted and not there, or if
            ``output`` holds anything or cannot be written.
    """
    from safetensors.torch import save_file

    _check(checkpoint, track)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UserError(f"{output} is not empty: choose another folder, nothing is overwritten")
    sampled = checkpoint.sampled and not softmax
    text = _recipe(checkpoint, track, sampled=sampled, gaussians=gaussians)
    made = Recipe.model_validate(tomllib.loads(text))
    tensors = {f"network.{name}": tensor for name, tensor in checkpoint.state.items()}
    if sampled:
        assert checkpoint.chains is not None
        assert made.sampling is not None
        tensors |= _chains(checkpoint.chains[: made.sampling.buffer])
        if made.sampling.start == "gaussian":
            tensors |= _gaussians(track)
    with files.folder(output) as folder:
        (folder / RECIPE).write_text(text, encoding="utf-8")
        save_file(tensors, folder / WEIGHTS)
    return output / RECIPE


def cached(path: Path, *, track: Track, asked: str | None) -> Path:
    """The recipe of a checkpoint, converted into the cache of this machine unless it is there.

    Args:
        path: of the checkpoint.
        track: what it was trained on.
        asked: one of :data:`NAMES` that it is to be read as, if any.

    Raises:
        UserError: see :func:`read` and :func:`convert`.
    """
    key = identity({"version": VERSION, "file": file_sha256(path), "track": track.id, "as": asked})
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
    import torch

    return {"sampler.chains": chains, "sampler.labels": torch.full((len(chains),), -1, dtype=torch.int64)}


def _gaussians(track: Track) -> dict[str, Tensor]:
    """Where the chains begin."""
    import torch

    from jembench.starts import ClassGaussians

    images = data.images(track, "train")
    origin = ClassGaussians(shape=track.shape, classes=track.classes)
    origin.fit(lambda y: torch.from_numpy(images.of_class(y)))
    return {f"sampler.origin.{name}": tensor for name, tensor in origin.state_dict().items()}


def _recipe(checkpoint: Checkpoint, track: Track, *, sampled: bool, gaussians: bool) -> str:
    """The text of ``recipe.toml``."""
    layout = LAYOUTS[checkpoint.layout]
    model = {"network": "wrn", "depth": checkpoint.depth, "width": checkpoint.width, "norm": checkpoint.norm}
    scaled = {**model, "mean": 0.5, "std": 0.5}
    head = [
        f"Converted by jembench from {json.dumps(checkpoint.path.name)}, a checkpoint in the layout of {layout.title}."
    ]
    parts: dict[str, Mapping[str, Any]]
    if not sampled:
        head += [
            "It evaluates the network as a classifier, and log p(x) = logsumexp f(x), which needs no chains: the",
            "checkpoint has none, or they were left out. It does not say how the network was trained: [training] is a",
            "matter of form.",
        ]
        parts = {"model": {"kind": SOFTMAX, **scaled}, "training": {"iterations": 1, "batch": BATCH}}
        about = f"{layout.title}, official checkpoint, without chains"
    else:
        assert layout.sampling is not None
        assert checkpoint.chains is not None
        n = len(checkpoint.chains)
        batch = min(BATCH, n)
        kept = n - n % batch
        head += ["Pixels in [0, 1]; the settings are those that the paper publishes, and train it anew.", *layout.notes]
        if kept < n:
            head.append(f"Of {n} chains the first {kept} are kept: a batch of {batch} has lanes of equal length.")
        sampling = {**layout.sampling, "buffer": kept}
        about = f"{layout.title}, official checkpoint"
        if sampling["start"] == "gaussian" and not gaussians:
            sampling["start"] = "uniform"
            about += ", fresh chains from uniform noise"
            head.append("Fresh chains begin at uniform noise here, not at Gaussians of the training images.")
        parts = {
            "model": {"kind": "jem", **scaled},
            **layout.parts,
            "objective": {"log_py_x": 1.0, "log_px": 1.0},
            "sampling": sampling,
            "training": {**layout.parts["training"], "batch": batch},
            "selection": {"criterion": "accuracy"},
        }
        if track.name == "svhn":  # a mirrored digit is another sign
            parts["data"] = {**parts["data"], "flip": False}
    lines = [*(f"# {line}" for line in head), f"track = {json.dumps(track.name)}", f"about = {json.dumps(about)}"]
    for name, part in parts.items():
        lines += ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in part.items())]
    return "\n".join(lines) + "\n"
