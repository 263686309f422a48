"""Work that nobody waits for: asking channels, delivering webhooks, closing what expired."""
