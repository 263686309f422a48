"""Every guard in a Redis script is missed when it is gone: a named test of the scripts fails.

`MISSED` names, for each line of each script, the tests that see to it. Whatever can be changed in
the line (`tests.mutants.lua`) is changed, and at least one of those tests has to fail; each of them
fails on some change. A line that nobody watches cannot be added.
"""

from collections.abc import Awaitable, Callable, Iterator
from typing import Final, TypeAlias

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.locks import test_scripts as that
from tests.locks.scripts import TEXTS, Scripts
from tests.mutants import lua
from tests.mutants.edits import Edit

Check: TypeAlias = Callable[[Scripts], Awaitable[None]]

MISSED: Final[dict[tuple[str, str], tuple[Check, ...]]] = {
    (
        "claim",
        "local kind, same, body = unpack(redis.call('HMGET', KEYS[1], 'kind', 'same', 'body'))",
    ): (
        that.test_what_is_final_is_answered_to_everybody,
        that.test_a_live_answer_is_given_again_to_the_same_request,
    ),
    ("claim", "if kind == 'final' then"): (
        that.test_what_is_final_is_answered_to_everybody,
        that.test_one_of_two_takes_the_claim,
    ),
    ("claim", "return {'final', body}"): (that.test_what_is_final_is_answered_to_everybody,),
    ("claim", "if redis.call('EXISTS', KEYS[3]) == 1 then"): (
        that.test_while_money_is_settled_nothing_is_begun,
        that.test_one_of_two_takes_the_claim,
    ),
    ("claim", "return {'busy'}"): (
        that.test_while_money_is_settled_nothing_is_begun,
        that.test_one_of_two_takes_the_claim,
    ),
    ("claim", "if same == ARGV[3] then"): (
        that.test_a_live_answer_is_given_again_to_the_same_request,
        that.test_another_request_takes_the_claim_and_the_live_answer_is_forgotten,
    ),
    ("claim", "return {'live', body}"): (
        that.test_a_live_answer_is_given_again_to_the_same_request,
    ),
    ("claim", "if redis.call('SET', KEYS[2], ARGV[1], 'NX', 'PX', ARGV[2]) then"): (
        that.test_one_of_two_takes_the_claim,
        that.test_a_claim_ends_by_itself,
    ),
    ("claim", "redis.call('DEL', KEYS[1]) -- what was offered before may be closed from here on"): (
        that.test_another_request_takes_the_claim_and_the_live_answer_is_forgotten,
        that.test_one_of_two_takes_the_claim,
    ),
    ("claim", "return {'claimed'}"): (that.test_one_of_two_takes_the_claim,),
    ("conclude", "if ARGV[1] ~= '' then"): (
        that.test_late_news_of_an_open_order_leaves_what_is_final,
    ),
    ("conclude", "redis.call('HSET', KEYS[1], 'kind', 'final', 'body', ARGV[1])"): (
        that.test_what_is_final_is_answered_to_everybody,
    ),
    ("conclude", "redis.call('PEXPIRE', KEYS[1], ARGV[2])"): (
        that.test_what_is_final_ends_by_itself,
    ),
    ("conclude", "elseif redis.call('HGET', KEYS[1], 'kind') == 'live' then"): (
        that.test_news_of_an_open_order_forgets_the_live_answer,
        that.test_late_news_of_an_open_order_leaves_what_is_final,
    ),
    ("conclude", "redis.call('DEL', KEYS[1])"): (
        that.test_news_of_an_open_order_forgets_the_live_answer,
    ),
    ("conclude", "if tonumber(redis.call('GET', KEYS[3]) or '0') < tonumber(ARGV[5]) then"): (
        that.test_only_news_of_a_later_write_lifts_a_hush,
        that.test_what_is_final_ends_by_itself,
    ),
    ("conclude", "redis.call('DEL', KEYS[3])"): (
        that.test_only_news_of_a_later_write_lifts_a_hush,
    ),
    ("conclude", "return redis.call('PUBLISH', ARGV[3], ARGV[4])"): (
        that.test_what_was_settled_wakes_the_pages,
    ),
    ("hush", "if redis.call('HGET', KEYS[1], 'kind') ~= 'final' then"): (
        that.test_a_hush_leaves_what_is_final,
        that.test_a_hush_forgets_the_live_answer,
    ),
    ("hush", "redis.call('DEL', KEYS[1])"): (that.test_a_hush_forgets_the_live_answer,),
    ("hush", "redis.call('DEL', KEYS[2])"): (that.test_a_hush_revokes_the_claim_in_flight,),
    ("hush", "local held = tonumber(redis.call('GET', KEYS[3]) or '0')"): (
        that.test_of_two_hushes_the_later_one_stands,
    ),
    ("hush", "redis.call('SET', KEYS[3], math.max(held, tonumber(ARGV[2])), 'PX', ARGV[1])"): (
        that.test_a_hush_ends_by_itself,
        that.test_only_news_of_a_later_write_lifts_a_hush,
    ),
    ("release", "if redis.call('GET', KEYS[1]) == ARGV[1] then"): (
        that.test_only_its_holder_lets_a_claim_go,
    ),
    ("release", "redis.call('DEL', KEYS[1])"): (that.test_only_its_holder_lets_a_claim_go,),
    ("remember", "if redis.call('GET', KEYS[2]) == ARGV[1] then"): (
        that.test_an_answer_ends_its_claim,
        that.test_only_the_holder_of_the_claim_stores_an_answer,
    ),
    ("remember", "redis.call('DEL', KEYS[2])"): (that.test_an_answer_ends_its_claim,),
    ("remember", "if redis.call('HGET', KEYS[1], 'kind') ~= 'final' then"): (
        that.test_a_live_answer_does_not_take_the_place_of_what_is_final,
        that.test_a_live_answer_is_given_again_to_the_same_request,
    ),
    (
        "remember",
        "redis.call('HSET', KEYS[1], 'kind', 'live', 'same', ARGV[2], 'body', ARGV[3])",
    ): (
        that.test_a_live_answer_is_given_again_to_the_same_request,
        that.test_news_of_an_open_order_forgets_the_live_answer,
    ),
    ("remember", "redis.call('PEXPIRE', KEYS[1], ARGV[4])"): (
        that.test_a_live_answer_ends_by_itself,
    ),
    ("renew", "if redis.call('GET', KEYS[1]) == ARGV[1] then"): (
        that.test_only_its_holder_keeps_a_claim_for_longer,
    ),
    ("renew", "redis.call('PEXPIRE', KEYS[1], ARGV[2])"): (
        that.test_only_its_holder_keeps_a_claim_for_longer,
    ),
    ("submit", "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then"): (
        that.test_one_of_two_submissions_is_let_in,
        that.test_the_window_of_a_submission_ends_by_itself,
    ),
    ("submit", "return 0"): (that.test_one_of_two_submissions_is_let_in,),
    ("submit", "return math.max(redis.call('PTTL', KEYS[1]), 1)"): (
        that.test_a_window_that_is_open_is_never_said_to_be_ours,
    ),
}


def lines() -> Iterator[tuple[str, str]]:
    """Yield each line of the scripts that does something, with the name of its script."""
    for name, text in TEXTS.items():
        for line in text.splitlines():
            code = line.strip()
            if code not in ("", "end") and not code.startswith("--"):
                yield name, code


def changes(script: str, line: str) -> list[Edit]:
    text = TEXTS[script]
    return [edit for edit in lua.edits(text) if edit.shown_in(text)[0] == line]


def test_every_line_of_every_script_is_watched() -> None:
    assert set(MISSED) == set(lines())
    assert all(changes(*line) for line in MISSED)


@pytest.mark.parametrize(
    ("script", "line"), MISSED, ids=[f"{script}: {line}" for script, line in MISSED]
)
async def test_whatever_is_changed_in_a_line_one_of_its_tests_fails(
    redis: Redis, script: str, line: str
) -> None:
    needed: set[Check] = set()
    for edit in changes(script, line):
        texts = {**TEXTS, script: edit.made_in(TEXTS[script])}
        failed = [check for check in MISSED[script, line] if await fails(check, redis, texts)]
        assert failed, f"nobody misses it: {edit.shown_in(TEXTS[script])[1]}"
        needed.update(failed)
    assert needed == set(MISSED[script, line])


async def fails(check: Check, redis: Redis, texts: dict[str, str]) -> bool:
    try:
        await check(Scripts(redis, texts))
    except (AssertionError, ResponseError):
        return True
    return False
