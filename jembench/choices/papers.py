"""Protocols of papers: what their published code does, warts included, and where in it each choice is made.

Sources: wgrathwohl/JEM at 3d01161, sndnyang/JEMPP at fba6ba5, sndnyang/SADAJEM at 9d8f3c7.
"""

from __future__ import annotations

from typing import Any

from jembench.choices.protocols import Protocol, Refinement

_JEM_OOD: dict[str, Any] = {"interp": "test", "celeba": "resize", "celeba_split": "all", "ece": "ece20"}
_BUFFER: dict[str, Any] = {"samples": ("buffer",)}
_SIXTY: dict[str, Any] = {**_BUFFER, "reference": "train+test", "rounded": False}
_SIZES = "n: the track's 1,000 samples, theirs 10,000; a distance at another n is another number"
_EXTRACTOR = (
    "extractor: the track's own unless --extractor inception-v3 is asked for, which alone gives FID and their IS"
)

JEM2020 = Protocol(
    name="jem2020",
    code="wgrathwohl/JEM@3d01161",
    evaluators=("accuracy", "calibration", "ood", "generation", "distance"),
    test_noise=0.015,
    ood_noise=0.015,
    **_JEM_OOD,
    attack="distance",
    attack_images=300,
    attack_gradient="straight-through",
    attack_copies=5,
    attack_steps=40,
    attack_restarts=20,
    attack_defence=Refinement(votes=5, sigma=0.03 / 2, size=1 / 4, noise=0.01 / 2),
    **_BUFFER,
    notes=(
        "300 images: a share near .5 is known to 5.7 points only",
        "`x.data +=` hides the refinement from autograd: the gradient is the straight-through one, not the one "
        "through the sampler that the paper speaks of",
        "their search (foolbox 1: binary search over eps, steps of .01 and .05) is ours here, of as many steps and "
        "restarts; the best restart counts, where they save the last",
        "an adversarial counts where fresh draws confirm it, where they take the first query that is broken",
        "their README's L2 command runs without input noise; here both norms have it",
        "accuracy after n refinement steps: --refine n, which averages 5 copies, theirs one; the noise of a "
        "defence stands in place of the test images' noise, so that it comes once",
        "no ECE, IS or FID code is public: bins and the buffer are the paper's words, the reference is ours",
        "interp is mixed in whole grey levels, a quarter of a level darker on average",
        "no scaled temperature is theirs: read test/raw/ece20",
        _SIZES,
        _EXTRACTOR,
    ),
    whence={
        "evaluators": "eval_wrn_ebm.py, attack_model.py; paper: tables 1 and 3, figures",
        "test_noise": "eval_wrn_ebm.py: --sigma .03 in [-1, 1]",
        "ood_noise": "eval_wrn_ebm.py: --sigma .03; interp adds it again",
        "interp": "eval_wrn_ebm.py: OODAUC",
        "celeba": "eval_wrn_ebm.py: Resize(32)",
        "celeba_split": "eval_wrn_ebm.py: a folder of all splits",
        "ece": "paper: section 5.2",
        "attack": "attack_model.py",
        "attack_images": "README: --end_batch 6, of 50 images",
        "attack_gradient": "attack_model.py: refine",
        "attack_copies": "attack_model.py: --n_dup_chains",
        "attack_steps": "attack_model.py: --n_steps_pgd_attack",
        "attack_restarts": "attack_model.py: range(20)",
        "attack_defence": "attack_model.py: refined_logits",
        "samples": "paper: the replay buffer",
    },
)

JEMPP = Protocol(
    name="jempp",
    code="sndnyang/JEMPP@fba6ba5",
    evaluators=("accuracy", "calibration", "ood", "generation"),
    test_noise=0.015,
    **_JEM_OOD,
    attack="none",
    **_SIXTY,
    notes=(
        "test noise is the default of the evaluation; the OOD scripts set it to 0",
        "no attack is in the repository",
        "their README has FID 34.4 to 56.5 of one checkpoint, by 100 to 1,000 images kept per class; here all are "
        "kept, as by its command: see --keep-top under v1",
        "their IS is a mean over parts of 5,000 images, ours over all",
        _SIZES,
        _EXTRACTOR,
    ),
    whence={
        "evaluators": "eval_jempp.py",
        "test_noise": "eval_jempp.py: --sigma .03 in [-1, 1]",
        "interp": "eval_jempp.py: OODAUC",
        "celeba": "eval_jempp.py: Resize(32)",
        "celeba_split": "eval_jempp.py: a folder of all splits",
        "ece": "eval_jempp.py: ECELoss(20)",
        "attack": "no file has one",
        "samples": "eval_jempp.py: cond_fid",
        "reference": "Task/data.py: full=True",
        "rounded": "Task/eval_buffer.py",
    },
)

SADAJEM = Protocol(
    name="sadajem",
    code="sndnyang/SADAJEM@9d8f3c7",
    evaluators=("accuracy", "calibration", "ood", "generation", "robustness"),
    **{**_JEM_OOD, "celeba_split": "test"},
    attack="pgd",
    attack_images=1000,
    attack_steps=50,
    attack_restarts=1,
    attack_step=2.0,
    attack_eps=(1, 2, 4, 8, 12, 16, 22, 30),
    **_SIXTY,
    keep_fd=0.9,
    keep_is=0.1,
    keep_within="class",
    notes=(
        "their 'BPDA+EOT' attack is configured with 0 Langevin steps: PGD on the bare network",
        "their checkpoint is the best by test accuracy: choose yours on validation data",
        "IS and FID of one table are of different images: the top 10 % and the top 90 %",
        "their code prints FID -1 where it fails; ours says why",
        _SIZES,
        _EXTRACTOR,
    ),
    whence={
        "evaluators": "eval_sadajem.py, bpda_eot_attack.py",
        "interp": "eval_sadajem.py: OODAUC",
        "celeba": "eval_sadajem.py: Resize(32)",
        "ece": "eval_sadajem.py: ECELoss(20)",
        "attack": "bpda_eot_attack_jem.json",
        "attack_images": "bpda_eot_attack_jem.json: 100 batches of 10",
        "attack_steps": "bpda_eot_attack_jem.json: adv_steps",
        "attack_restarts": "bpda_eot_attack.py",
        "attack_step": "bpda_eot_attack_jem.json: adv_eta",
        "attack_eps": "scripts/bpda_attack.sh",
        "samples": "eval_sadajem.py: --eval fid",
        "reference": "Task/data.py: full=True",
        "keep_fd": "eval_sadajem.py: ratio=0.9",
        "keep_is": "eval_sadajem.py: ratio=0.1",
        "keep_within": "Task/eval_buffer.py: cond_is_fid",
        "rounded": "Task/eval_buffer.py",
    },
)
