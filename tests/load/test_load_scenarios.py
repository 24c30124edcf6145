"""Scenarios: the project's own can be read, and what is wrong with one is told in words, all of it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.failure import LoadTestError
from loadtest.load.scenario import FAULT_S_MIN, Scenario, overlapping
from loadtest.load.scenario_files import ScenarioMistakesError, read_scenarios, scenario_from

HEAD = 'title = "T"\npurpose = "P."\n'
GOOD = f"""[good]
{HEAD}limits = {{ default = 15 }}
phases = [{{ seconds = 10, of_limit = 1.5 }}]
faults = [{{ at_s = 1, kind = "API refuses", seconds = 2 }}]
"""


def read(tmp_path: Path, text: str) -> dict[str, Scenario]:
    path = tmp_path / "scenarios.toml"
    path.write_text(text)
    return read_scenarios(path)


def mistakes(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ScenarioMistakesError) as caught:
        read(tmp_path, text)
    return caught.value.mistakes


def test_the_projects_own_scenarios_can_be_read() -> None:
    scenarios = read_scenarios()
    assert {"steady", "accounts", "spike", "million", "faults", "soak", "lifted"} <= scenarios.keys()
    assert len(scenarios["accounts"].limits) == 20
    assert scenarios["million"].expected_jobs() == 1_000_000
    assert scenarios["soak"].seconds == 7_200


def test_each_of_the_projects_scenarios_with_a_limit_claims_that_it_is_kept() -> None:
    claimed = [name for name, one in read_scenarios().items() if one.holds.throttled_per_1000_max is not None]
    assert claimed == [name for name, one in read_scenarios().items() if not one.is_unlimited]


def test_what_is_not_said_has_a_usual_value(tmp_path: Path) -> None:
    one = read(tmp_path, GOOD)["good"]
    assert (one.workers, one.before, one.jobs.recipients, one.jobs.content, one.api.window) == (
        1, 0, 1, "own", "rolling",
    )  # fmt: skip
    assert one.phases[0].arrivals == "poisson"
    assert one.expected_jobs() == pytest.approx(225)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('title = "T"\n', "", "title is missing"),
        ('purpose = "P."\n', 'purpose = ""\n', "purpose"),
        ("default = 15", "default = 0", "limits: default"),
        ("default = 15", 'default = "much"', "limits: default"),
        ("default = 15", "Default = 15", "limits: Default"),
        ("default = 15", "all = 15", "an account with the name 'all'"),
        ("default = 15", 'default = 15, other = "none"', "accounts with and without a limit"),
        ("default = 15", 'default = "none"', "its phases need per_s"),
        ("seconds = 10", "seconds = 0", "phases: number 1: seconds should be greater than 0, not 0"),
        ("seconds = 10", 'seconds = "10"', "phases: number 1: seconds"),
        ("of_limit = 1.5", "of_limit = 1.5, per_s = 3", "either of_limit or per_s"),
        (", of_limit = 1.5", "", "either of_limit or per_s"),
        ("of_limit = 1.5", 'of_limit = 1, shape = "step"', "levels when its shape is step"),
        ("of_limit = 1.5", "of_limit = 1, levels = [1, 2]", "levels when its shape is step"),
        ("of_limit = 1.5", 'of_limit = 1, shape = "spike", times = 3', "times and spike_s when its shape is spike"),
        (
            "of_limit = 1.5",
            'of_limit = 1, shape = "spike", times = 3, spike_s = 10',
            "a spike that is longer than itself",
        ),
        ("of_limit = 1.5", "of_limit = 1, wrong = 1", "phases: number 1: wrong is not known here"),
        ("of_limit = 1.5", "of_limit = 1000, seconds = 10", "TOML"),
        ("of_limit = 1.5", "per_s = 100000", None),
        ("seconds = 10, of_limit = 1.5", "seconds = 100, per_s = 100000", "2,000,000 are the most"),
        ("[good]", "[good]\njobs = { recipients = 1000 }\nbefore = 10000", "5,000,000 are the most"),
        ('kind = "API refuses"', 'kind = "API sleeps"', "a kind that nobody knows: 'API sleeps'"),
        ("at_s = 1", "at_s = 11", "faults that begin after its schedule has ended"),
        ("default = 15", "default = 15, other = 15", None),
        (
            'default = 15 }\nphases = [{ seconds = 10, of_limit = 1.5 }]\nfaults = [{ at_s = 1, kind = "API refuses"',
            'a = 1, b = 1 }\nphases = [{ seconds = 10, of_limit = 1.5 }]\nfaults = [{ at_s = 1, kind = "limit lowered"',
            "needs one account with a limit",
        ),
        ("[good]", "[good]\nsettings = { PATH = 'x' }", "settings: PATH"),
    ],
)
def test_each_mistake_is_told(tmp_path: Path, before: str, after: str, told: str | None) -> None:
    text = GOOD.replace(before, after)
    assert text != GOOD
    if told is None:
        read(tmp_path, text)
    else:
        with pytest.raises(LoadTestError) as caught:
            read(tmp_path, text)
        assert told in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = GOOD.replace('title = "T"\n', "").replace("seconds = 10", "seconds = -1") + GOOD.replace(
        "[good]", "[other]"
    ).replace("at_s = 1", "at_s = -1")
    told = mistakes(tmp_path, text)
    assert len(told) == 3
    assert all(sentence.startswith("In ") and sentence.endswith(".") for sentence in told)


def test_nothing_to_publish_is_a_mistake(tmp_path: Path) -> None:
    assert "publishes nothing" in mistakes(tmp_path, f"[a]\n{HEAD}limits = {{ a = 1 }}\n")[0]
    assert mistakes(tmp_path, "") == ["It holds no scenario."]


def test_what_is_no_toml_and_what_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(LoadTestError, match="is no TOML"):
        read(tmp_path, "[a")
    with pytest.raises(LoadTestError, match="cannot be read"):
        read_scenarios(tmp_path / "none.toml")


def test_another_length_keeps_the_proportions(tmp_path: Path) -> None:
    one = read(tmp_path, GOOD)["good"].scaled(seconds=20, workers=3, before=7)
    assert (one.seconds, one.faults[0].at_s, one.faults[0].seconds, one.workers, one.before) == (20, 2, 4, 3, 7)
    with pytest.raises(ValueError, match="2,000,000"):
        one.scaled(before=2_000_000)


@pytest.mark.parametrize(
    ("jobs", "settings", "recipients"),
    [
        ({}, {}, 1),
        ({"recipients": 30}, {}, 30),
        ({"content": "equal"}, {}, 1_000),
        ({"content": "equal", "recipients": 300}, {}, 900),
        ({"content": "equal"}, {"MMS_RECIPIENTS_PER_CALL_MAX": "100"}, 100),
        ({"content": "equal", "recipients": 30}, {"MMS_RECIPIENTS_PER_CALL_MAX": "100"}, 90),
        ({"content": "equal", "recipients": 30}, {"MMS_RECIPIENTS_PER_CALL_MAX": "1"}, 30),
        ({"content": "equal"}, {"MMS_RECIPIENTS_PER_CALL_MAX": "many"}, 1_000),
    ],
)
def test_a_full_call_has_so_many_recipients(jobs: dict[str, object], settings: dict[str, str], recipients: int) -> None:
    told = {"title": "T", "purpose": "P.", "limits": {"default": 15}, "before": 1, "jobs": jobs, "settings": settings}
    assert scenario_from(told).recipients_per_call == recipients


def with_faults(*faults: tuple[float, str, float]) -> Scenario:
    return scenario_from(
        {
            "title": "T",
            "purpose": "P.",
            "limits": {"default": 15},
            "phases": [{"seconds": 100, "of_limit": 1}],
            "faults": [{"at_s": at_s, "kind": kind, "seconds": seconds} for at_s, kind, seconds in faults],
        }
    )


@pytest.mark.parametrize(
    ("seconds", "scaled"),
    [
        (200, [(20, 0), (40, 20), (160, 2)]),
        (50, [(5, 0), (10, 5), (40, 1)]),
        (20, [(2, 0), (4, FAULT_S_MIN), (16, 1)]),
    ],
)
def test_faults_keep_their_proportions_down_to_what_can_be_seen(
    seconds: int, scaled: list[tuple[float, float]]
) -> None:
    one = with_faults((10, "worker killed", 0), (20, "API refuses", 10), (80, "worker frozen", 1))
    faults = one.scaled(seconds=seconds).faults
    assert [(fault.at_s, fault.seconds) for fault in faults] == scaled


@pytest.mark.parametrize(
    ("faults", "seconds", "told"),
    [
        (
            [(10, "API hangs", 10), (25, "limit lowered", 15)],
            10,
            "API hangs would last until some 3.0 s, and limit lowered begins at 2.5 s.",
        ),
        (
            [(25, "API hangs", 10), (10, "RabbitMQ restarted", 0)],
            40,
            "RabbitMQ restarted would last until some 11.0 s, and API hangs begins at 10.0 s.",
        ),
        ([(10, "API hangs", 10), (25, "limit lowered", 15)], 20, None),
        ([(10, "API hangs", 10), (15, "Redis restarted", 0)], 10, None),
        ([(10, "worker killed", 0), (10.1, "worker killed", 0)], 1, None),
    ],
)
def test_faults_that_would_overlap_are_refused_unless_they_were_meant_to(
    faults: list[tuple[float, str, float]], seconds: int, told: str | None
) -> None:
    one = with_faults(*faults)
    if told is None:
        assert one.scaled(seconds=seconds).seconds == seconds
    else:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are compared
            one.scaled(seconds=seconds)
        assert str(caught.value) == told


def test_the_projects_own_faults_can_be_had_in_a_minute() -> None:
    one = read_scenarios()["faults"].scaled(seconds=60)
    assert overlapping(one.faults) == set()
    with pytest.raises(ValueError, match="RabbitMQ restarted would last until some 14.9 s"):
        read_scenarios()["faults"].scaled(seconds=30)


def test_the_schedule_is_the_same_for_a_seed_and_another_for_each_account(tmp_path: Path) -> None:
    one = read(tmp_path, GOOD.replace("default = 15", "a = 15, b = 15"))["good"]
    assert list(one.schedule(1)) == list(one.schedule(1)) != list(one.schedule(2))
    moments = [[each.at_us for each in one.schedule(1) if each.account == account] for account in (0, 1)]
    assert moments[0] != moments[1]
