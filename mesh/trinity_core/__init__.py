"""The words of the mesh: assets, ticks, prices, the book and errors. Pure: no asyncio, no sockets, no protobuf."""
