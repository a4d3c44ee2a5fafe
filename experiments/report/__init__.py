"""Reports: runs, or a study, as one HTML page that needs nothing but itself."""
