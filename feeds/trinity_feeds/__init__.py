"""Feed workers: the sessions of six venues, and their sandbox."""
