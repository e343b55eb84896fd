"""Learners: the code that turns batches into updates, whoever the method is."""
