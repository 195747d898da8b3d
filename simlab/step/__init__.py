"""The step language: what a step is traced to, and the sample path that it reads."""
