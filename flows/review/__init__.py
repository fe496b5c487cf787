"""The review page: its service, its web application and its static files."""
