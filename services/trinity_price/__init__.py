"""The price service: one trustworthy price per asset."""
