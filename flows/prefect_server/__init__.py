"""The Prefect servers that fightpose starts, what they are told, and how runs end on them."""
