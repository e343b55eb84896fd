"""Role methods of this project, by module."""
