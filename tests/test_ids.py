"""Ids sort by time, also within a millisecond, and are never made twice."""

from gateway.ids import new_attempt_id, number_of, time_ordered


def test_ids_sort_in_the_order_in_which_they_were_made() -> None:
    made = [time_ordered() for _ in range(20_000)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)
    assert {len(each) for each in made} == {26}


def test_the_number_of_an_attempt_is_26_alphanumerics() -> None:
    number = number_of(new_attempt_id())
    assert len(number) == 26
    assert number.isalnum()
