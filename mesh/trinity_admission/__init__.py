"""Who may ask, how often, and the count of what was answered."""
