"""
A first run
===========

x
"""
import simlab
print(simlab.__version__)
