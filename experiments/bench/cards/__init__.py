"""What a program would cost a card, from what XLA compiles for it."""
