"""The one place that writes and reads files: whole or not at all, through no link, one process in a run."""
