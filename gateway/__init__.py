"""PayOnce: an order is never paid twice, and paid money is never lost."""

__version__ = "0.1.0"
