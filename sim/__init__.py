"""The simulated clock: modelled costs, arrivals and quality on SimPy."""
