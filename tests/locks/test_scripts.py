"""What the Redis scripts promise, one sentence each. tests/locks/test_guards.py takes every guard
out of them and sees that one of these sentences is no longer true.
"""

from tests.locks.scripts import CLAIM_MS, FINAL_MS, LIVE_MS, QUIET_MS, WINDOW_MS, Scripts


async def test_one_of_two_takes_the_claim(scripts: Scripts) -> None:
    assert await scripts.claim("ours") == ["claimed"]
    assert await scripts.claim("theirs") == ["busy"]
    assert await scripts.redis.get(scripts.holder) == "ours"


async def test_a_claim_ends_by_itself(scripts: Scripts) -> None:
    await scripts.claim()
    assert await scripts.ends_within(scripts.holder, CLAIM_MS)


async def test_a_live_answer_is_given_again_to_the_same_request(scripts: Scripts) -> None:
    await scripts.claim("ours", "a code")
    await scripts.remember("ours", "a code")
    assert await scripts.claim("theirs", "a code") == ["live", "the code"]
    assert not await scripts.redis.exists(scripts.holder)


async def test_a_live_answer_ends_by_itself(scripts: Scripts) -> None:
    await scripts.claim()
    await scripts.remember()
    assert await scripts.ends_within(scripts.answer, LIVE_MS)


async def test_another_request_takes_the_claim_and_the_live_answer_is_forgotten(
    scripts: Scripts,
) -> None:
    await scripts.claim("ours", "a code")
    await scripts.remember("ours", "a code")
    assert await scripts.claim("theirs", "a page") == ["claimed"]
    assert not await scripts.redis.exists(scripts.answer)


async def test_an_answer_ends_its_claim(scripts: Scripts) -> None:
    await scripts.claim()
    await scripts.remember()
    assert not await scripts.redis.exists(scripts.holder)


async def test_only_the_holder_of_the_claim_stores_an_answer(scripts: Scripts) -> None:
    await scripts.remember("ours")
    await scripts.claim("theirs")
    await scripts.remember("ours")
    assert not await scripts.redis.exists(scripts.answer)
    assert await scripts.redis.get(scripts.holder) == "theirs"


async def test_a_live_answer_does_not_take_the_place_of_what_is_final(scripts: Scripts) -> None:
    await scripts.claim()
    await scripts.conclude(2, "paid")
    await scripts.remember()
    assert await scripts.claim() == ["final", "paid"]


async def test_what_is_final_is_answered_to_everybody(scripts: Scripts) -> None:
    await scripts.claim("ours", "a code")
    await scripts.remember("ours", "a code")
    await scripts.conclude(2, "paid")
    await scripts.hush(2)  # though more money is just being settled
    assert await scripts.claim("ours", "a code") == ["final", "paid"]
    assert await scripts.claim("theirs", "a page") == ["final", "paid"]
    assert not await scripts.redis.exists(scripts.holder)


async def test_what_is_final_ends_by_itself(scripts: Scripts) -> None:
    await scripts.conclude(2, "paid")
    assert await scripts.ends_within(scripts.answer, FINAL_MS)


async def test_only_its_holder_lets_a_claim_go(scripts: Scripts) -> None:
    await scripts.claim("theirs")
    await scripts.release("ours")
    assert await scripts.redis.get(scripts.holder) == "theirs"
    await scripts.release("theirs")
    assert not await scripts.redis.exists(scripts.holder)


async def test_only_its_holder_keeps_a_claim_for_longer(scripts: Scripts) -> None:
    await scripts.claim("theirs")
    await scripts.renew("ours", 2 * CLAIM_MS)
    assert await scripts.ends_within(scripts.holder, CLAIM_MS)
    await scripts.renew("theirs", 2 * CLAIM_MS)
    assert await scripts.ends_within(scripts.holder, 2 * CLAIM_MS)


async def test_while_money_is_settled_nothing_is_begun(scripts: Scripts) -> None:
    await scripts.hush(1)
    assert await scripts.claim() == ["busy"]
    assert not await scripts.redis.exists(scripts.holder)


async def test_a_hush_forgets_the_live_answer(scripts: Scripts) -> None:
    await scripts.claim()
    await scripts.remember()
    await scripts.hush(1)
    assert not await scripts.redis.exists(scripts.answer)


async def test_a_hush_leaves_what_is_final(scripts: Scripts) -> None:
    await scripts.conclude(2, "paid")
    await scripts.hush(2)
    assert await scripts.claim() == ["final", "paid"]


async def test_a_hush_revokes_the_claim_in_flight(scripts: Scripts) -> None:
    await scripts.claim()
    await scripts.hush(1)
    await scripts.conclude(2)
    await scripts.remember()
    assert not await scripts.redis.exists(scripts.answer)


async def test_a_hush_ends_by_itself(scripts: Scripts) -> None:
    await scripts.hush(1)
    assert await scripts.ends_within(scripts.quiet, QUIET_MS)


async def test_only_news_of_a_later_write_lifts_a_hush(scripts: Scripts) -> None:
    await scripts.hush(9)
    await scripts.conclude(8)
    await scripts.conclude(9)
    assert await scripts.claim() == ["busy"]
    await scripts.conclude(10)
    assert await scripts.claim() == ["claimed"]


async def test_of_two_hushes_the_later_one_stands(scripts: Scripts) -> None:
    for versions in ((3, 5), (5, 3)):
        for version in versions:
            await scripts.hush(version)
        await scripts.conclude(4)
        assert await scripts.claim() == ["busy"]
        await scripts.conclude(6)


async def test_news_of_an_open_order_forgets_the_live_answer(scripts: Scripts) -> None:
    await scripts.claim()
    await scripts.remember()
    await scripts.conclude(2)
    assert not await scripts.redis.exists(scripts.answer)


async def test_late_news_of_an_open_order_leaves_what_is_final(scripts: Scripts) -> None:
    await scripts.conclude(3, "paid")
    await scripts.conclude(2)
    assert await scripts.claim() == ["final", "paid"]


async def test_what_was_settled_wakes_the_pages(scripts: Scripts) -> None:
    async with scripts.redis.pubsub(ignore_subscribe_messages=True) as page:
        await page.subscribe(scripts.pages)
        assert await page.get_message(timeout=10) is None  # it has subscribed
        assert await scripts.conclude(2, "paid") == 1
        woken = await page.get_message(timeout=10)
    assert woken is not None
    assert woken["data"] == "the order 2"


async def test_one_of_two_submissions_is_let_in(scripts: Scripts) -> None:
    assert await scripts.submit("ours") == 0
    assert await scripts.submit("theirs") in range(1, WINDOW_MS + 1)
    assert await scripts.redis.get(scripts.holder) == "ours"


async def test_the_window_of_a_submission_ends_by_itself(scripts: Scripts) -> None:
    await scripts.submit("ours")
    assert await scripts.ends_within(scripts.holder, WINDOW_MS)
    assert await scripts.submit("theirs") in range(2, WINDOW_MS + 1)


async def test_a_window_that_is_open_is_never_said_to_be_ours(scripts: Scripts) -> None:
    """Not even one that has no end, as when the key was restored without its time to live."""
    await scripts.submit("ours")
    await scripts.redis.persist(scripts.holder)
    assert await scripts.submit("theirs") == 1
