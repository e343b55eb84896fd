"""What is wrong with a world or a method, in plain words, before networks complain."""
