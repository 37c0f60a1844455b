"""Linear IV with learned instruments, its inference, and its comparators."""
