"""The synchronisation of the cache with the truth."""
