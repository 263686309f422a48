"""Does a test notice when the code is wrong? Each mutant is the code with one thing changed, and a
test has to fail on it; what survives is explained in docs/mutants.md, or is a test that is missing.

`make mutants` judges the mutants of what settles money (Python and SQL); those of the Redis scripts
are judged by tests/locks/test_guards.py, an ordinary test.
"""
