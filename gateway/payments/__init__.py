"""The payment verbs, and THE ARGUMENT: why an order is never paid twice and paid money is never
lost.

Each line says how it could go wrong, what prevents it, and which test shows that. A test checks
that every name in back-quotes exists, so this page cannot come to speak of things that are gone.

An order could be paid twice if ...

1. two payments were both counted as its payment.
   They are not: `one_captured_per_order` allows one captured attempt, `paid_by_one_of_its_attempts`
   ties the order to it, and `gateway.payments.settle.decide` calls every later one surplus.
   Shown by `test_two_payments_of_one_order_are_one_capture_and_one_surplus`.
2. a decision was made on a state that has changed since.
   It is not written: every write that moves a state names the order's version and raises it
   (`gateway.db.moves.settle`), and one that finds another version moves nothing.
   Shown by `test_without_the_version_guard_and_the_index_an_order_is_captured_twice`.
3. two clicks, tabs or processes each made a payment that can be paid.
   They do not: `one_offered_per_order` allows one offered attempt, `gateway.db.moves.open_attempt`
   needs the order as it was read, and `gateway.db.attempts.lease` lets one caller call the channel.
   Redis only makes them meet less often (`gateway.locks.claims.Claims`).
   Shown by `test_ten_clicks_make_one_number`, `test_without_guards_ten_clicks_make_more_numbers`
   and `test_ten_clicks_on_two_processes_make_one_number`.
4. an answer was lost and the retry used another number.
   It does not: the attempt and its parameters are committed before the channel hears of them, and
   a retry says the same bytes again (`gateway.payments.planning.plan`).
   Shown by `test_a_lost_answer_to_create_is_repeated_with_the_same_number`.
5. the buyer changed the channel while the old attempt could still be paid.
   The old one is closed at its channel first (`gateway.payments.closing.close_or_supersede`); where
   that is not certain it is superseded, asked about until it is, and its money is surplus.
   Shown by `test_another_product_closes_the_old_attempt_first`.
6. the channel accepted an attempt just as the order was paid by another.
   No way to pay leaves us: `gateway.db.moves.accept` finds the order no longer open.
   Shown by `test_an_answer_that_comes_after_the_order_was_paid_leaves_nothing_to_pay_with`.
7. a cached answer outlived the payment.
   It does not: the callback's script forgets it before the money is written, and it lives for ten
   seconds at most (`gateway.locks.claims.Claims.hush`).
   Shown by `test_no_cached_answer_survives_the_payment`.
8. the buyer approved where we decide when to debit, and paid another way too.
   Nothing is debited without a claim: `gateway.db.capture_moves.claim` finds the order open and
   this attempt the one that is offered, `one_capture_claim_per_order` allows one claim at a time,
   and no call, repeats too, comes before it (`gateway.payments.capturing.go_on`).
   Shown by `test_what_is_not_to_be_paid_by_it_is_not_claimed` and
   `test_one_attempt_of_an_order_is_debited_at_a_time`.

Paid money could be lost if ...

9. its report came and was not recorded.
   PAID is recorded in every state of attempt and order: `gateway.payments.settle.decide` is total,
   and a callback is acknowledged only after the commit (`gateway.web.callbacks.receive`).
   Shown by `test_money_is_recorded_in_every_state`.
10. its report never came.
   The channel is asked: `attempts_to_ask` finds what is due without a lower bound in time, and no
   attempt ends because nobody answered (`gateway.payments.asking.ask_overdue`).
   Shown by `test_a_payment_is_found_when_every_callback_is_lost`.
11. it came for a number that we do not know.
   The callback is kept (`gateway.db.moves.keep_unknown`), refused so that the channel sends it
   again, and tried again by `workers.sweep.settle_unknown`.
   Shown by `test_a_callback_for_an_unknown_number_is_kept_and_settled_later`.
12. it came twice under one number, or was not the price.
   Both are surplus, one row for each payment (`one_row_per_payment`), and owed back by a refund
   that can only point at surplus (`a_refund_fits_its_attempt`).
   Shown by `test_a_second_payment_under_one_number_is_a_sibling_surplus`
   and `test_a_wrong_amount_is_surplus_and_held`.
13. the order service never heard of it.
   The event is committed with the fact (`gateway.db.moves.settle`), sent at once and then for days
   (`gateway.webhooks.Webhooks.deliver_overdue`), and can be read at any time
   (`events_of_merchant`). Shown by
   `test_a_webhook_is_delivered_though_the_process_died_after_the_commit`.
14. a state was written that the rules do not know.
   It cannot commit: a trigger writes each move to the journal, and `only_legal_moves` is a foreign
   key to the moves that exist. Shown by `test_the_rules_and_the_database_allow_the_same_moves`.

Money could be given back twice, or wrongly, if ...

15. a machine refunded the payment that the order counts.
   The database refuses it: a surplus refund points at an attempt that is surplus
   (`a_refund_fits_its_attempt`). Before it is let go the channel answers two queries, of the
   surplus and of the winner (`gateway.payments.refund_rules.why_held`). Shown by
   `test_the_database_refuses_refunds_that_the_rules_do_not_know` and
   `test_surplus_goes_only_when_the_channel_confirms_both_payments`.
16. one surplus payment was owed twice.
   It is not: `one_surplus_refund_per_attempt`, written in the statement that finds the surplus.
   Shown by `test_one_surplus_payment_is_one_debt`.
17. an answer was lost, a worker died, or two workers sent it.
   The number is committed before the channel hears of it, the channel takes a number for one
   refund, and it is asked before a call is repeated (`gateway.payments.refunding.refund_due`).
   Shown by `test_whatever_answer_is_lost_the_money_goes_back_once`,
   `test_a_worker_that_dies_at_any_step_is_made_up_for` and
   `test_two_workers_whose_leases_ran_out_call_the_channel_once`.
18. a refund that seemed to fail was sent under another number.
   Another number comes only after a failure, once the channel says again that the last one failed,
   and when two persons want it (`two_persons_approve`). Shown by
   `test_no_other_number_when_the_channel_did_it_after_all` and
   `test_two_different_operators_let_a_held_refund_go`.
19. a flood of surplus, or a fault of ours, emptied the merchant's account.
   Above its limits a refund waits for two persons, and refunds are let go in turn
   (`gateway.db.refunds.lock_accounts`); `surplus_is_let_go_before_it_is_sent` holds for each.
   Shown by `test_refunds_at_once_do_not_exceed_the_limit_of_a_day`.
20. a merchant refunded more than was captured.
   The sum is checked on the order as it was read, and every write about its refunds raises the
   version (`gateway.db.refund_moves.open_refund`). Shown by
   `test_concurrent_parts_are_never_more_than_was_captured`.
21. it was begun and forgotten.
   What is under way is always due (`what_is_under_way_is_looked_at`, `refunds_to_check`). Shown by
   `test_what_was_due_long_ago_is_carried_on`.
"""
