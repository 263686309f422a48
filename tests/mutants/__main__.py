"""`python -m tests.mutants [name ...]`: judge the mutants, of all or of the functions named."""

import sys

from tests.mutants.judging import Judged, judge
from tests.mutants.mutants import mutants


def main(names: list[str]) -> int:
    """Print a table of what was judged, and what survived; returns how much did."""
    known = mutants()
    if unknown := set(names) - {mutant.name for mutant in known}:
        raise SystemExit(
            f"There are no mutants of {', '.join(sorted(unknown))}: see docs/mutants.md"
        )
    chosen = [mutant for mutant in known if not names or mutant.name in names]
    judged = judge(chosen, _tell)
    _say(f"\n\n{'':40}{'mutants':>8}{'missed':>8}")
    for where in dict.fromkeys(each.mutant.where for each in judged):
        _count(where, [each for each in judged if each.mutant.where == where])
    _count("all", judged)
    survivors = [each.mutant for each in judged if each.missed_by is None]
    for mutant in survivors:
        was, becomes = mutant.shown
        _say(f"\n{mutant.where} survives:\n  {was}\n  {becomes}")
    return len(survivors)


def _tell(judged: Judged) -> None:
    sys.stdout.write("." if judged.missed_by else "S")
    sys.stdout.flush()


def _count(where: str, here: list[Judged]) -> None:
    _say(f"{where:40}{len(here):8}{sum(each.missed_by is not None for each in here):8}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
