"""The worst case of a method over a class of functions, read off its own step.

`trajectory` runs the step on coefficient vectors, `symmetry` finds what the network leaves alone, `program` is the
semidefinite program, `instance` the problem that attains its value, `spectrum` what is over all networks of a
spectrum, `case` the public verb; `classes` has rates and limits over classes.
"""
