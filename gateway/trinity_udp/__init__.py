"""The datagram endpoint."""
