"""How many of the labelled people are found, in single frames and after tracking, and what that costs."""
