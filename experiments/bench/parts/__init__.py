"""What the attached card is measured by: parts that compile side by side."""
