"""`python -m simlab.algorithms`: the table of all algorithms, in Markdown."""

from simlab.algorithms.table import table

print(table())
