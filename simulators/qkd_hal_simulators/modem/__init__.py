"""The modem process: quantum and classical channel, key store, and the application's wire."""
