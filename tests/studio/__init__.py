"""The studio, served and computed."""
