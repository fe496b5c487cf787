"""The Prefect servers that fightpose starts: access, database, pools, deployments, leases and the end of runs."""
