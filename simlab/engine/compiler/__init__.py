"""From the graph of a step to a Numba program: layout, text, file."""
