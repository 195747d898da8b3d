"""What `simulate` does with its checked arguments: runs, what is recorded of them, where it came from."""
