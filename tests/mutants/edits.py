"""A mutant is a program text with one edit: what it does must be missed by a test."""

from msgspec import Struct


class Edit(Struct, frozen=True):
    """Characters `start` to `end` of a text, and what stands there instead."""

    start: int
    end: int
    instead: str

    def made_in(self, text: str) -> str:
        return text[: self.start] + self.instead + text[self.end :]

    def shown_in(self, text: str) -> tuple[str, str]:
        """The lines that it touches as they are, and as they would be, each drawn up in one."""
        first = text.rfind("\n", 0, self.start) + 1
        last = text.find("\n", self.end)
        last = len(text) if last < 0 else last
        after = text[first : self.start] + self.instead + text[self.end : last]
        return " ".join(text[first:last].split()), " ".join(after.split())
