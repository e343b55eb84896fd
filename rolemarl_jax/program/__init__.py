"""One experiment as compiled functions, and many seeds of it as one program."""
