"""The report on an output folder: tables, charts and the HTML page."""
