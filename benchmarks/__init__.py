"""Ratios against floors: how fast PayOnce is, measured beside the least program that could do it.

A rate says little: it moves by half with the machine, the disk and the neighbours. A ratio of two
rates, taken turn and turn about in one run on the same servers, says how much a promise costs. So
every figure here is a *floor* (the least program that does the same durable work, see `floors`) and
the product, measured alternately, round after round; the figure is the median of the rounds'
ratios. After every slice the databases are counted, and a run that lost or doubled anything fails.

`python -m benchmarks` runs it; docs/performance.md says what is compared.
"""
