"""The `trinity` command."""
