"""Why an embedded server cannot run, in words that say what to do."""

from pathlib import Path

from gateway.errors import PayOnceError


class EmbeddedError(PayOnceError):
    """An embedded server cannot run; the message says why and what to do."""


class DataFolderInUse(EmbeddedError):
    """Somebody else runs on that data folder."""


def unusable(path: Path, error: OSError) -> EmbeddedError:
    """Turn an error of the file system into one that says what to do."""
    return EmbeddedError(
        f"Cannot use {path}: {error.strerror}. Make it writable for the user that starts PayOnce, "
        "or name another folder with --data (PAYONCE_DATA)."
    )
