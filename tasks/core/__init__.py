"""What every package shares: records, settings, geometry, errors and storage. Imports no other package."""
