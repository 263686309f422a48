"""Whatever can happen, in any order: hypothesis makes up lists of steps, and each must end well.

The schedules try every order of a few events; the machine (`machine.py`) tries few of the endless
lists of many: orders, applications, wallets, callbacks that are lost, repeated, forged and told out
of order, polls, expiry, refunds, operators, two of anything at once, channels that lie and stall
(`liar.py`) or misbehave as the sandbox can, a Redis that forgets. Product, sandbox, PostgreSQL and
Valkey are real (`world.py`), and what can happen is data (`steps.py`). After each step the ledger
of the sandbox and the gateway's tables are compared (`judging.py`). In the end the faults stop,
time passes and persons decide (`settling.py`): then all money is recorded once, what is too much
has gone back once, and nothing is stuck.

    pytest tests/fuzz                 30 lists, the same each time, and one hunt for each guard
    FUZZ=10000 pytest tests/fuzz      so many, others each time

In a usual run the lists are the same each time (`derandomize`), so that a change which breaks
something is what breaks it; new lists are for those who hunt. What fails is printed as a list that
`play` takes again, with what came of each step: put it into `test_found.py`. What happens within
one step at once is up to the servers, so a race may need several goes.

`test_guards.py` takes guards away, and the machine must notice: otherwise it could not see what it
looks for.
"""
