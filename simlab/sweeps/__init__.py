"""Many runs: cells of a grid, each computed once, by whoever comes to it first, and kept in a folder."""
