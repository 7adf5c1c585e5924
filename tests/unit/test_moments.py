"""Times as people type them, in zones whose clocks jump."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hitui.domain.moments import parse_moment

BERLIN = "CET-1CEST,M3.5.0,M10.5.0/3"
"""In 2026 from 02:00 to 03:00 on March 29, and from 03:00 to 02:00 on October 25."""
Zone = Callable[[str], None]


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


def at(text: str, is_summer: int = -1) -> float:
    """The moment at which the clocks show that."""
    return time.mktime((*time.strptime(text, "%Y-%m-%d %H:%M")[:8], is_summer))


def shown(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))


@pytest.mark.parametrize(
    ("text", "now", "moment"),
    [
        ("22:00", "2026-05-01 21:59", "2026-05-01 22:00"),
        ("22:00", "2026-05-01 22:00", "2026-05-02 22:00"),
        ("7:05", "2026-12-31 23:00", "2027-01-01 07:05"),
        ("08:00", "2026-03-28 20:00", "2026-03-29 08:00"),
        ("08:00", "2026-10-24 20:00", "2026-10-25 08:00"),
        ("2026-06-30 08:00", "2026-05-01 12:00", "2026-06-30 08:00"),
        (" 2026-06-30T08:00:00 ", "2026-05-01 12:00", "2026-06-30 08:00"),
        # Skipped: as long after midnight as without the jump.
        ("02:30", "2026-03-28 20:00", "2026-03-29 03:30"),
        ("02:30", "2026-03-29 03:45", "2026-03-30 02:30"),
    ],
)
def test_a_time_is_the_next_one_that_the_clocks_show(zone: Zone, text: str, now: str, moment: str) -> None:
    zone(BERLIN)
    assert shown(parse_moment(text, at(now))) == moment


def test_of_an_hour_that_comes_twice_the_one_that_has_not_passed(zone: Zone) -> None:
    zone(BERLIN)
    first, second = at("2026-10-25 02:30", 1), at("2026-10-25 02:30", 0)
    assert second - first == 3600
    for text in ("02:30", "2026-10-25 02:30"):
        assert parse_moment(text, first - 60) == first
        assert parse_moment(text, first) == second
    assert shown(parse_moment("02:30", second)) == "2026-10-26 02:30"


def test_a_while_is_that_long_whatever_the_clocks_do(zone: Zone) -> None:
    zone(BERLIN)
    evening = at("2026-03-28 22:00")
    assert parse_moment("+2h30m", evening) == evening + 9000
    assert shown(parse_moment("+1d", evening)) == "2026-03-29 23:00"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a time such as 22:00, 2026-01-31 08:00 or +2h30m is expected, not ''"),
        ("noon", "is expected, not 'noon'"),
        ("+2", "is expected, not '+2'"),
        ("22", "is expected"),
        ("22:00\x1b[2J", "not '22:00\\x1b[2J'"),
        ("٢٢:00", "is expected"),
        ("24:00", "24:00: there is no such time"),
        ("2026-02-30 08:00", "2026-02-30 08:00: there is no such time"),
        ("2025-01-31 08:00", "2025-01-31 08:00 has passed: it is 2026-05-01 12:00 now"),
        ("2099-01-31 08:00", "2099-01-31 08:00 is more than ten years ahead"),
        ("+99999999999d", "is more than ten years ahead"),
    ],
)
def test_what_cannot_be_meant_is_refused(zone: Zone, text: str, said: str) -> None:
    zone("UTC0")
    with pytest.raises(ValueError, match=r"time|passed|ahead") as refused:
        parse_moment(text, at("2026-05-01 12:00"))
    assert said in str(refused.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.floats(1.7e9, 1.9e9).map(int),
    st.integers(0, 23),
    st.integers(0, 59),
    st.sampled_from([BERLIN, "UTC0", "EST5EDT,M3.2.0,M11.1.0", "<+0530>-5:30"]),
)
def test_any_time_is_ahead_and_no_further_than_a_day(
    zone: Zone, now: int, hour: int, minute: int, name: str
) -> None:
    zone(name)
    moment = parse_moment(f"{hour:02}:{minute:02}", now)
    assert now < moment <= now + 25 * 3600
    there = datetime.fromtimestamp(moment)
    # Only in the night in which they are skipped do the clocks show another hour.
    assert (there.hour, there.minute) == (hour, minute) or there.month == 3
