"""What pictures of all worlds share: colours, films and their legends."""
