"""What a Python customer installs: a live local replica of the prices, and typed clients."""
