"""Every schedule: the real flows, one step at a time, on real PostgreSQL and Valkey.

A race test shows that one unlucky order of events does no harm. Here all orders are tried. A scene
(`scenes.py`, `capture_scenes.py`, `refund_scenes.py`) says what is there and who then acts at once:
buyers applying, callbacks, polls, captures, expiry, merchants closing and refunding, operators, the
refund machine. Each flow runs the product's own code and stops before each of its steps: a
statement, a call to Redis, a call to a channel (`seams.py`). A scheduler lets one through at a time
(`scheduler.py`), so a list of names says everything about a run, and the same list gives the same
run. The explorer (`exploring.py`) runs every list with up to three preemptions, and each again with
a crash before every step: of everything, or of one process while the others go on. Then comes what
a process does that starts anew: its sweeps, minutes later and days later. The channels are in this
process (`tills.py`), are as bad as channels are, and keep a ledger (`ledger.py`): what they took is
what must be recorded, once, and what they gave back is what was owed (`judging.py`).

Two lists that differ only in the order of steps that share nothing are one, and so are two crashes
that leave the same behind (`traces.py`). What PostgreSQL does inside a statement while another one
runs is not shown here; the races in `tests/payments` show it.

    pytest tests/schedules                    110 runs a scene, fewest surprises first
    SCHEDULES=all pytest tests/schedules      all of them, which takes hours; PREEMPTIONS=2 less
    SCHEDULE="A A P A" pytest -s 'tests/schedules/test_schedules.py::
        test_no_schedule_pays_twice_or_loses_money[apply_and_callback-plain]'    one, told in steps

`test_guards.py` takes the guards away, one after the other, and a schedule must be found that goes
wrong: otherwise all this could not see what it looks for.
"""
