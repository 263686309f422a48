"""Chaos with real processes: load, faults of every kind, and an outsider's account of the money.

Gateways and workers are `payonce serve` and `payonce worker` as an operator starts them, behind a
balancer, with PostgreSQL and Valkey of their own, the sandbox as the channels and the demo shop as
a merchant. Buyers do what buyers do while processes are killed, servers restarted and the channels
lie. Then the faults stop, and what the sandbox's ledger and the shop's book say must agree: each
order was paid once or not at all, and whatever else was paid went back, once.

`python -m tests.chaos --minutes N --seed S` runs it; everything listens on 127.0.0.1, lies in a
temporary folder, and dies with the run. The seed chooses who does what and which fault comes when;
what then races what is up to the machine.
"""
