"""How processes meet: clock, configuration, channels, servers, errors on the wire, supervision."""
