"""The report service: what was answered, to whom and how."""
