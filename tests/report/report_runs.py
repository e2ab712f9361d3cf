"""Folders of small runs for the tests of the report, written by hand: no training, and every number known."""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from accredit.telemetry import (
    CoalitionsEvaluated,
    ContributionsEstimated,
    HostGrown,
    JsonlSink,
    Origin,
    RunCompleted,
    RunStarted,
    StageChanged,
    StepCompleted,
    UpdateCompleted,
)
from accredit.training.comparison import Comparison, GraftRow, Interval, PolicyRow, SizeRow
from accredit.training.config import TrainConfig
from accredit.training.config_record import to_plain

SLOTS = ("input", "hidden")
STAGES = (  # step, slot, kind, operation, source, target
    (0, "input", "mlp", "graft", "empty", "training"),
    (2, "input", "mlp", "blend", "training", "blending"),
    (3, "input", "mlp", "blended", "blending", "holding"),
    (4, "input", "mlp", "prune", "holding", "empty"),
    (5, "input", "mlp", "graft", "empty", "training"),
    (6, "hidden", "norm", "graft", "empty", "training"),
)
LAST = 8


def number(mean: float, count: int = 3) -> Interval:
    return Interval(mean=mean, lower=mean - 0.01, upper=mean + 0.01, count=count)


def comparison(slots: Sequence[str] = SLOTS, kind: str = "mlp", policy: str = "random") -> Comparison:
    def row(name: str, accuracy: float, minus: float | None, learned: float | None) -> PolicyRow:
        return PolicyRow(
            policy=name,
            accuracy=number(accuracy),
            log_loss=number(1 - accuracy),
            parameters=number(700.0),
            minus_no_growth=None if minus is None else number(minus),
            learned_minus=None if learned is None else number(learned),
        )

    return Comparison(
        policies=(
            row("learned", 0.9, -0.1, None),
            row(policy, 0.8, 0.05, -0.15),
            row("no growth", 0.85, None, -0.1),
        ),
        sizes=(
            SizeRow(
                width=2,
                learning_rate=0.01,
                parameters=900,
                accuracy=number(0.88),
                log_loss=number(0.4),
                learned_minus=number(-0.02),
            ),
        ),
        grafts=tuple(GraftRow(slot=slot, kind=kind, log_loss=number(0.3), accuracy=number(0.02)) for slot in slots),
        hosts=3,
        confidence=0.95,
        schedule=f"{kind} at {slots[0]}",
        calibrated_kinds=(kind,) * len(slots),
    )


def update(at: int, **changes: object) -> UpdateCompleted:
    fields: dict[str, object] = {
        "update": at,
        "environment_steps": 16 * at,
        "episode_return": 0.01 * at,
        "gain_over_control": None if at == 1 else 0.02 * at,
        "final_log_loss": 0.5,
        "final_accuracy": 0.8,
        "mean_parameters": 100.0,
        "return_std": 0.2,
        "explained_variance": 0.5,
        "entropy": 2.0 / at,
        "approximate_kl": 0.01,
        "clip_fraction": 0.25,
        "policy_loss": -0.1,
        "value_loss": 0.3,
        "gradient_norm": 1.0,
        "epochs": 4,
        "learning_rate": 0.002,
        "action_frequencies": {"wait": 0.75, "graft": 0.25},
        "observation_count": 100 * at,
        "observation_drift": 0.5 / at,
        "reward_scale": 0.1,
        "observation_effective_count": 100.0 * at,
        "observation_dropped": 0,
    }
    return UpdateCompleted(**(fields | changes))


def estimated(
    environment: str, step: int, game: str | None, players: Sequence[str], contributions: Sequence[float]
) -> ContributionsEstimated:
    """Contributions to the log-loss: raw values have the other sign."""
    return ContributionsEstimated(
        origin=Origin(environment=environment, episode=0, step=step, game=game),
        output="log_loss",
        unit="nat",
        higher_is_better=False,
        players=tuple(players),
        values=tuple(-each for each in contributions),
        contributions=tuple(contributions),
        stderr=(0.01,) * len(players),
        lower=tuple(-each - 0.02 for each in contributions),
        upper=tuple(-each + 0.03 for each in contributions),
        level=0.95,
        value_all=0.5,
        value_none=0.7,
        estimator="exact",
        n_evaluations=4,
    )


def tested(at: int, slots: Sequence[str], synergy: float) -> CoalitionsEvaluated:
    """All coalitions of a host whose log-loss falls by 0.1 for each graft, and by `synergy` for the first two."""
    coalitions = ["".join(bits) for bits in product("01", repeat=len(slots))]
    losses = [1.0 - 0.1 * text.count("1") - synergy * text.startswith("11") for text in coalitions]
    return CoalitionsEvaluated(
        origin=Origin(environment=f"learned-{at:03d}-test", episode=0, step=LAST),
        players=tuple(slots),
        coalitions=tuple(coalitions),
        values={"log_loss": tuple(losses), "accuracy": tuple(1 - loss for loss in losses)},
    )


def events(slots: Sequence[str] = SLOTS, kind: str = "mlp", policy: str = "random", updates: int = 2) -> list[object]:
    """A whole run, in the order of its events."""
    config = TrainConfig(seed=3, updates=updates)
    told: list[object] = [
        RunStarted(
            task="digits", seed=3, config=json.dumps(to_plain(config)), code_version="0.1.0", torch_version="2.13.0"
        )
    ]
    for at in range(1, updates + 1):
        told += [estimated("train-001", 3, "live", slots, [0.1 * at, 0.2 * at][: len(slots)]), update(at)]
    host = "learned-000"
    for step, slot, of_kind, operation, source, target in STAGES:
        told.append(
            StageChanged(
                origin=Origin(environment=host, episode=0, step=step),
                slot=slots[SLOTS.index(slot)],
                kind=kind if of_kind == "mlp" else of_kind,
                operation=operation,
                source=source,
                target=target,
            )
        )
    told += [estimated(host, step, "live", slots[:1], [0.05 * step]) for step in (3, 4)]
    told += [estimated(host, step, "candidates", slots[:1], [0.02]) for step in (1, 2, 6)]
    for step in range(1, LAST + 1):
        told.append(
            StepCompleted(
                origin=Origin(environment=host, episode=0, step=step),
                host_seed=7,
                action="wait",
                log_loss=2.0 - 0.1 * step,
                accuracy=0.5,
                graft_parameters=10,
                gain=0.1,
                control_gain=0.05,
                rent=0.0,
                graft_cost=0.0,
                reward=0.05,
            )
        )
    for at, synergy in enumerate((0.3, 0.4, 0.5)):
        told += [
            tested(at, slots, synergy),
            estimated(f"learned-{at:03d}-test", LAST, None, slots, [0.3] * len(slots)),
            HostGrown(
                origin=Origin(environment=f"learned-{at:03d}-test", episode=0, step=LAST),
                policy="learned",
                host_seed=at,
                log_loss=0.4,
                accuracy=0.9,
                parameters=700,
                committed=tuple(f"{slot}:{kind}" for slot in slots[: 1 + (at > 0)]),
            ),
        ]
    return [*told, RunCompleted(updates=updates)]


def write_run(folder: Path, told: Sequence[object], outcome: Comparison | None, config: object = None) -> Path:
    """Write the files of a run as training does."""
    folder.mkdir(parents=True)
    plain = to_plain(TrainConfig(seed=3, updates=2)) if config is None else config
    (folder / "config.json").write_text(json.dumps(plain))
    if outcome is not None:
        (folder / "evaluation.json").write_text(json.dumps(outcome.to_dict()))
    with JsonlSink(folder / "events.jsonl") as sink:
        for event in told:
            sink(event)
    return folder
