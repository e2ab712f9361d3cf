"""Pages for the tests of the report: one like that of a run, and one full of hostile names."""

import math
from dataclasses import replace
from itertools import combinations

from accredit.charts import Axis, Band, Chart, Estimates, PairChart, PairEstimates, Series
from accredit.report import Column, Group, Interval, KeyFigure, ReportPage, Section, Table

HOSTILE = (
    '</script><script>document.title="owned"</script>',
    "<!--<script>",
    "\"><img src=x onerror=alert(1)> ' ` & &amp;",
    "line\u2028and\u2029paragraph",
    "مرحبا بالعالم",
    "\u202eright to left override",
    "x" * 200,
    "wörter " * 29,
    "half a pair \ud83d",
    "",
)


def pairs(players: tuple[str, ...]) -> Group:
    """Interactions of some players, every third of them decided, as a network and as a matrix."""
    names = tuple(f"{first} + {second}" for first, second in combinations(players, 2))
    estimates = Estimates(
        names=names,
        values=tuple(0.1 * (-1) ** at * (1 + at % 5) for at in range(len(names))),
        half_widths=tuple((0.01, 2.0, None)[at % 3] for at in range(len(names))),
        quantity="loss",
        unit="nat",
        higher_is_better=False,
        level=0.95,
    )
    both = PairEstimates(players=players, pairs=estimates)
    return Group(
        items=(
            PairChart(title="Network", kind="network", estimates=both, note="Over 12 hosts."),
            PairChart(title="Matrix", kind="matrix", estimates=both),
        )
    )


def stages(name: str, other: str) -> Chart:
    """Two grafts over time with their stages."""
    steps = tuple(map(float, range(9)))
    return Chart(
        title="Grafts over time",
        kind="line",
        x=Axis(label="step", unit="count"),
        y=Axis(label="contribution", unit="nat"),
        series=(
            Series(name=name, x=steps, y=(None, None, 0.1, 0.2, None, 0.3, 0.3, 0.4, 0.4), joins_gaps=True),
            Series(name=other, x=steps, y=(None,) * 5 + (-0.1, 0.0, 0.1, 0.1), joins_gaps=True),
        ),
        bands=(
            Band(lane=name, start=0.0, end=2.0, label="training", strength=0.25),
            Band(lane=name, start=2.0, end=8.0, label=other, strength=1.0),
            Band(lane=other, start=3.0, end=8.0, label="blending", strength=0.5),
        ),
    )


def plausible() -> ReportPage:
    """What a run of the main job would say."""
    updates = tuple(float(i) for i in range(1, 31))
    learned = tuple(0.4 - 0.35 * math.exp(-i / 8) + 0.02 * math.sin(3 * i) for i in range(30))
    gain = tuple(0.3 - 0.32 * math.exp(-i / 9) for i in range(30))
    grafts = ("slot-1:convolution", "slot-2:attention", "slot-2:bottleneck", "slot-3:norm", "slot-3:noise")
    policies = ("learned", "no growth", "random", "greedy", "schedule")
    accuracy = (0.957, 0.921, 0.929, 0.955, 0.951)
    return ReportPage(
        title="Growing a host on digits",
        notices=("The run was made by accredit 0.0.9, this report by 0.1.0.",),
        summary="A PPO policy grew 12 hosts after 30 updates. It beats no growth by 3.6 points of test accuracy.",
        commands=("accredit grow digits --seed 7 --out runs/digits-7", "accredit report runs/digits-7"),
        facts=(
            ("Task", "digits (1797 images, 8 x 8)"),
            ("Seed", "7"),
            ("Updates", "30"),
            ("Hosts per update", "12"),
            ("Accredit", "0.1.0"),
            ("torch", "2.13.0"),
        ),
        key_figures=(
            KeyFigure(label="Test accuracy, learned", value="95.7 %", note="12 hosts, 95 % interval [94.9, 96.4]"),
            KeyFigure(label="Difference to no growth", value="+3.6 points", note="95 % interval [+2.9, +4.3], paired"),
            KeyFigure(label="Parameters, learned", value="5 214", note="host alone: 2 410"),
        ),
        sections=(
            Section(
                title="Policies on the test split",
                paragraphs=("Every policy grew the same 12 hosts. Nothing but this evaluation reads the test split.",),
                items=(
                    Table(
                        title="Policies",
                        columns=(
                            Column(name="Policy"),
                            Column(name="Test accuracy", unit="share", digits=3),
                            Column(name="Log-loss", unit="nats", digits=3),
                            Column(name="Parameters", unit="count"),
                            Column(name="Difference to no growth", unit="share", digits=3),
                        ),
                        rows=tuple(
                            (
                                name,
                                Interval(value=value, lower=value - 0.007, upper=value + 0.007),
                                0.9 - 0.8 * value,
                                2410 if name == "no growth" else 5214 + index,
                                None
                                if name == "no growth"
                                else Interval(value=value - 0.921, lower=value - 0.93, upper=value - 0.912),
                            )
                            for index, (name, value) in enumerate(zip(policies, accuracy, strict=True))
                        ),
                        note="95 % Student t intervals over 12 paired hosts.",
                        emphasized=0,
                    ),
                    Chart(
                        title="Accuracy against parameters",
                        kind="scatter",
                        x=Axis(label="parameters", unit="count"),
                        y=Axis(label="test accuracy", unit="share"),
                        series=tuple(
                            Series(
                                name=name,
                                x=(2410.0 + 700 * index,),
                                y=(value,),
                                lower=(value - 0.007,),
                                upper=(value + 0.007,),
                                x_lower=(2300.0 + 690 * index,),
                                x_upper=(2500.0 + 720 * index,),
                            )
                            for index, (name, value) in enumerate(zip(policies, accuracy, strict=True))
                        ),
                        note="Error bars: 95 % intervals over 12 hosts.",
                    ),
                ),
            ),
            Section(
                title="What each graft earns",
                items=(
                    Chart(
                        title="Contributions of the committed grafts",
                        kind="bar",
                        x=Axis(label="graft", unit=None),
                        y=Axis(label="fall of the log-loss, Shapley value", unit="nats"),
                        series=(
                            Series(
                                name="grafts",
                                x=grafts,
                                y=(0.31, 0.12, 0.05, 0.01, -0.14),
                                lower=(0.25, 0.07, 0.01, -0.02, -0.19),
                                upper=(0.37, 0.17, 0.09, 0.04, -0.09),
                            ),
                        ),
                        note="Error bars: 95 % paired intervals over validation examples.",
                    ),
                    pairs(grafts[:4]),
                ),
            ),
            Section(
                title="Training",
                items=(
                    Chart(
                        title="Return and gain over no growth",
                        kind="line",
                        x=Axis(label="update", unit="count"),
                        y=Axis(label="mean over episodes", unit="nats"),
                        series=(
                            Series(
                                name="return",
                                x=updates,
                                y=learned,
                                lower=tuple(value - 0.04 for value in learned),
                                upper=tuple(value + 0.04 for value in learned),
                            ),
                            Series(name="gain over no growth", x=updates, y=(None, *gain[1:12], None, *gain[13:])),
                        ),
                        note="Band: 95 % interval over the episodes of an update. None ended in updates 1 and 13.",
                    ),
                ),
            ),
        ),
    )


def hostile() -> ReportPage:
    """Every text of a page, hostile."""
    names = tuple(name for name in HOSTILE if name)
    numbers = tuple(float(index) - 2 for index in range(len(names)))
    bars = Chart(
        title=HOSTILE[0],
        kind="bar",
        x=Axis(label=HOSTILE[4] + HOSTILE[2], unit=None),
        y=Axis(label=HOSTILE[3], unit=HOSTILE[2]),
        series=(
            Series(name=HOSTILE[6], x=names, y=(math.nan, *numbers[1:]), lower=numbers, upper=(math.inf, *numbers[1:])),
        ),
        note=HOSTILE[1],
    )
    lines = Chart(
        title=HOSTILE[6],
        kind="line",
        x=Axis(label=HOSTILE[2], unit="</canvas>"),
        y=Axis(label=HOSTILE[6], unit="nats"),
        series=tuple(
            Series(name=name, x=(0.0, 1.0), y=(float(index), float(index) + 1)) for index, name in enumerate(names)
        ),
        note=HOSTILE[7],
    )
    return ReportPage(
        title=HOSTILE[0] + HOSTILE[6],
        summary=HOSTILE[4] + HOSTILE[5],
        commands=(f"accredit grow --out '{HOSTILE[0]}'", HOSTILE[6]),
        facts=tuple((name, name) for name in HOSTILE),
        key_figures=tuple(KeyFigure(label=name, value=name[:30], note=name) for name in HOSTILE[:5]),
        notices=HOSTILE,
        sections=(
            Section(title=HOSTILE[0], paragraphs=HOSTILE, items=(bars, pairs(names))),
            Section(
                title=HOSTILE[7],
                items=(
                    Table(
                        title=HOSTILE[2],
                        columns=(Column(name=HOSTILE[0]), Column(name=HOSTILE[6], unit=HOSTILE[2], digits=2)),
                        rows=tuple((name, math.nan) for name in HOSTILE),
                        note=HOSTILE[5],
                    ),
                    lines,
                    stages(HOSTILE[0], HOSTILE[6]),
                    Table(title=HOSTILE[0], columns=(Column(name="c"),), rows=((HOSTILE[0],),), is_folded=True),
                ),
            ),
            Section(title=HOSTILE[5]),
        ),
    )


def edges() -> ReportPage:
    """Charts with next to nothing in them, and one that spans orders of magnitude."""
    update, loss = Axis(label="update", unit="count"), Axis(label="loss", unit="nats")
    graft = Axis(label="graft", unit=None)
    charts = (
        Chart(title="No series", kind="line", x=update, y=loss, series=()),
        Chart(title="No bars", kind="bar", x=graft, y=loss, series=()),
        Chart(title="No number", kind="bar", x=graft, y=loss, series=(Series(name="s", x=("a", "b"), y=(None, None)),)),
        Chart(title="One point", kind="line", x=update, y=loss, series=(Series(name="s", x=(1.0,), y=(0.0,)),)),
        Chart(
            title="Two series of bars",
            kind="bar",
            x=graft,
            y=loss,
            series=(
                Series(name="s", x=("a", "b"), y=(1e-9, None), lower=(0.0, None), upper=(2e-9, None)),
                Series(name="t", x=("a", "b"), y=(-3e-9, 1e-9)),
            ),
        ),
        Chart(
            title="Orders of magnitude",
            kind="scatter",
            x=Axis(label="parameters", unit="count", logarithmic=True),
            y=Axis(label="loss", unit="nats", logarithmic=True),
            series=(Series(name="s", x=(1e2, 1e7), y=(1e-3, 2.0), lower=(1e-4, 1.0), upper=(1e-2, None)),),
        ),
    )
    return replace(plausible(), sections=(Section(title="Edges", items=charts),))
