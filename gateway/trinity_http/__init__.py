"""The descriptor-driven HTTP/JSON bridge."""
