"""How single columns become inputs: numbers, categories and arrays, one module each. `real.encoding` joins them."""
