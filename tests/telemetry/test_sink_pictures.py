"""What the pictures of a sink show, as data."""

from accredit.telemetry import ContributionsEstimated, Event, HostGrown, Origin, StageChanged, StepCompleted
from accredit.telemetry.sinks.pictures import MOST_POINTS, Curves, OneHost, comparison_charts


def graft(environment: str, episode: int, step: int, target: str, source: str = "empty") -> StageChanged:
    origin = Origin(environment=environment, episode=episode, step=step)
    return StageChanged(origin=origin, slot="a", kind="mlp", operation="x", source=source, target=target)


def ended(environment: str, episode: int, step: int) -> StepCompleted:
    names = ("accuracy", "gain", "control_gain", "rent", "graft_cost", "reward")
    origin = Origin(environment=environment, episode=episode, step=step)
    return StepCompleted(
        origin=origin, host_seed=1, action="wait", log_loss=0.5, graft_parameters=3, **dict.fromkeys(names, 0.0)
    )


def earned(environment: str, step: int, game: str, output: str = "log_loss", better: bool = False) -> Event:
    sign = 1.0 if better else -1.0
    return ContributionsEstimated(
        origin=Origin(environment=environment, episode=0, step=step, game=game), output=output, unit="nat",
        higher_is_better=better, players=("a",), values=(sign * 0.5,), contributions=(0.5,), stderr=(None,),
        lower=(sign * 0.5 - 0.1,), upper=(sign * 0.5 + 0.3,), level=0.9, value_all=0.0, value_none=0.0,
        estimator="exact", n_evaluations=2,
    )  # fmt: skip


def told(*events: Event) -> OneHost:
    host = OneHost()
    for event in events:
        host.take(event)
    return host


def test_a_curve_has_gaps_where_nothing_was_measured_and_shares_of_0_where_nothing_was_decided():
    """[R32] A gap, never 0; but an operation that nobody chose has a share of 0."""
    curves = Curves()
    curves.take(1, {"episode_return": 0.5, "action_frequencies/wait": 1.0})
    curves.take(2, {"action_frequencies/wait": 0.5, "action_frequencies/graft": 0.5})
    charts = dict(curves.charts())
    assert set(charts) == {"learning/returns", "learning/decisions"}
    returns = charts["learning/returns"].series
    assert [(each.name, each.x, each.y) for each in returns] == [
        ("return (gain less rent and cost)", (1.0, 2.0), (0.5, None))
    ]
    assert {each.name: each.y for each in charts["learning/decisions"].series} == {
        "wait": (1.0, 0.5),
        "graft": (0.0, 0.5),
    }


def test_curves_keep_a_bounded_number_of_updates():
    """[R16] With the first and the last."""
    curves = Curves()
    for number in range(1000):
        curves.take(number, {"entropy": float(number)})
    assert len(curves.rows) <= MOST_POINTS
    assert (curves.rows[0][0], curves.rows[-1][0]) == (0, 999)


def test_the_story_is_that_of_the_latest_whole_episode_of_the_first_environment():
    host = told(
        graft("train-0", 0, 0, "training"), graft("train-1", 0, 0, "training"),
        graft("train-0", 0, 2, "committed", "training"), ended("train-0", 0, 4), graft("train-0", 1, 1, "training"),
    )  # fmt: skip
    chart = host.chart()
    assert chart is not None
    assert chart.title.endswith("train-0, episode 0")
    assert [(band.start, band.end, band.label) for band in chart.bands] == [
        (0.0, 2.0, "training"),
        (2.0, 4.0, "committed"),
    ]


def test_the_story_has_the_live_game_alone_with_ends_that_say_what_helps():
    host = told(
        graft("train-0", 0, 0, "training"), earned("train-0", 1, "live"), earned("train-0", 2, "candidates"),
        earned("train-0", 2, "live", output="accuracy", better=True), earned("train-0", 3, "live"),
    )  # fmt: skip
    chart = host.chart()
    assert chart is not None
    (line,) = chart.series
    assert (line.x, line.y) == ((1.0, 3.0), (0.5, 0.5))
    # raw -0.6 to -0.2: lower is better, so that the contribution is from 0.2 to 0.6
    assert [round(end, 9) for end in (*(line.lower or ()), *(line.upper or ()))] == [0.2, 0.2, 0.6, 0.6]
    assert chart.y.title == "contribution to log_loss, positive helps (nat)"


def test_there_is_no_story_before_anything_was_grafted():
    assert told().chart() is None
    assert told(ended("train-0", 0, 1)).chart() is None


def test_the_comparison_has_a_bar_per_policy_with_the_interval_of_student():
    hosts = {
        policy: [
            HostGrown(
                origin=Origin(), policy=policy, host_seed=1, log_loss=loss, accuracy=0.5, parameters=9, committed=()
            )
            for loss in losses
        ]
        for policy, losses in {"learned": (1.0, 2.0, 3.0), "random": (4.0,)}.items()
    }
    charts = dict(comparison_charts(hosts))
    (bars,) = charts["comparison/log_loss"].series
    assert (bars.x, bars.y) == (("learned", "random"), (2.0, 4.0))
    # t(0.975, 2) = 4.302653, s = 1: 2 -+ 4.302653 / sqrt(3); one host alone has no interval
    assert [None if end is None else round(end, 5) for end in bars.lower or ()] == [-0.48414, None]
    assert [each.name for each in charts["comparison/accuracy_against_parameters"].series] == ["learned", "random"]
    assert list(comparison_charts({})) == []
