"""The bridge and Envoy's transcoder in front of one service, asked the same."""
