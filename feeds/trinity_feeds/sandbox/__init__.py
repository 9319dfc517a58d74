"""Sandbox venues: six local servers that speak each venue's protocol, with simulated prices and scripted faults."""
