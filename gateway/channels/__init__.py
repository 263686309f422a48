"""What a channel is to us: seven verbs, typed answers, and what it can do as data."""
