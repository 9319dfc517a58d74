"""The account service: customers, plans, keys."""
