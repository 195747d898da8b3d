"""Real data sets, and their partition over nodes."""

from simlab.data.datasets import Dataset as Dataset, load as load, signals as signals
from simlab.data.partitions import Partition as Partition, partition as partition

__all__ = ["Dataset", "Partition", "load", "partition", "signals"]
