"""Thousands of damaged inputs: each must end as an annotation or as a recorded failure. Run by `make fuzz`."""
