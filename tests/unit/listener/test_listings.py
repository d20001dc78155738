"""Which markets stay subscribed while lists change: holes in lists cost nothing."""

import pytest

from collector.listener.listings import LISTS_WITHOUT, Change, Listings

FOUR = ("KRW-A", "KRW-B", "KRW-C", "KRW-D")


def without(*names: str) -> list[str]:
    return [name for name in FOUR if name not in names]


def test_the_same_list_changes_nothing() -> None:
    """In any order."""
    lists = Listings(FOUR, 0)
    assert lists.look(FOUR[::-1], (), 60) == Change(FOUR)
    assert not lists.look(FOUR, (), 120)


def test_a_new_market_may_have_traded_since_the_list_before() -> None:
    """That had not got it."""
    lists = Listings(FOUR, 0)
    lists.look(FOUR, (), 60)
    change = lists.look([*FOUR, "KRW-NEW"], (), 120)
    assert (change.markets, change.listed, change.returned) == ((*FOUR, "KRW-NEW"), {"KRW-NEW": 60}, {})


def test_a_market_that_one_list_lacks_stays_and_is_fetched_when_it_returns() -> None:
    """From the last list that had it."""
    lists = Listings(FOUR, 0)
    assert lists.look(without("KRW-B"), (), 60) == Change(FOUR)
    assert lists.look(without("KRW-B"), (), 120) == Change(FOUR)
    change = lists.look(FOUR, (), 180)
    assert change == Change(FOUR, returned={"KRW-B": 0})
    assert not lists.look(FOUR, (), 240)


def test_a_market_that_several_lists_in_a_row_lack_is_given_up() -> None:
    """And fetched from the last list that had it, should it come back after all."""
    lists = Listings(FOUR, 0)
    lists.look(FOUR, (), 60)
    for number in range(LISTS_WITHOUT - 1):
        assert not lists.look(without("KRW-B"), (), 120 + number)
    change = lists.look(without("KRW-B"), (), 200)
    assert (change.markets, change.gone) == (("KRW-A", "KRW-C", "KRW-D"), ("KRW-B",))
    assert not lists.look(without("KRW-B"), (), 260)
    assert lists.look(FOUR, (), 320) == Change(FOUR, returned={"KRW-B": 60})


def test_markets_of_the_run_before_that_the_first_list_lacks_stay_likewise() -> None:
    """Until as many lists in a row lack them; those that are listened to already are no news."""
    lists = Listings(FOUR, 0)
    change = lists.keep({"KRW-D", "KRW-Y", "KRW-Z"}, 5)
    assert change == Change((*FOUR, "KRW-Y", "KRW-Z"), returned={"KRW-Y": 5, "KRW-Z": 5})
    assert lists.look([*FOUR, "KRW-Y"], (), 60) == Change(change.markets, returned={"KRW-Y": 5})
    assert lists.look([*FOUR, "KRW-Y"], (), 120) == Change((*FOUR, "KRW-Y"), gone=("KRW-Z",))


def test_counting_begins_again_when_a_market_was_there() -> None:
    """Holes that come and go never add up."""
    lists = Listings(FOUR, 0)
    for number in range(5 * LISTS_WITHOUT):
        listed = FOUR if number % LISTS_WITHOUT == 0 else without("KRW-C")
        assert lists.look(listed, (), number).gone == ()


def test_an_announced_delisting_counts_at_once() -> None:
    """But only once a list lacks the market."""
    lists = Listings(FOUR, 0)
    assert not lists.look(FOUR, {"KRW-B"}, 60)
    assert lists.look(without("KRW-B"), {"KRW-B"}, 120).gone == ("KRW-B",)


@pytest.mark.parametrize(("lacking", "believed"), [(2, True), (3, False)])
def test_a_list_that_lacks_most_markets_is_not_believed(lacking: int, believed: bool) -> None:
    """However often it comes."""
    lists = Listings(FOUR, 0)
    changes = [lists.look(FOUR[lacking:], (), number) for number in range(LISTS_WITHOUT)]
    assert any(changes) is believed
    if not believed:
        assert lists.look(FOUR, (), 60).markets == FOUR


def test_the_only_market_may_go() -> None:
    """There is no share of one to doubt."""
    lists = Listings(["KRW-A"], 0)
    changes = [lists.look([], (), number) for number in range(LISTS_WITHOUT)]
    assert changes[-1].gone == ("KRW-A",)
