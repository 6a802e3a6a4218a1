"""The key token, written from ``docs/key-token.md`` alone: applet, CCID reader, vpcd card."""
