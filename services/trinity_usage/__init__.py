"""The usage service: the one writer of what was answered."""
