"""Cards that programs are compiled for, attached or not: to plan and to infer."""
