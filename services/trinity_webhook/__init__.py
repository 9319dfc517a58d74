"""The webhook service: where customers want to be told of prices, and of what."""
