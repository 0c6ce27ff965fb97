"""The embedded Pithos server: ``store`` knows no HTTP, ``app`` no disk."""
