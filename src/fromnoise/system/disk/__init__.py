"""All reading and writing of files: whole or not at all, never through a link, one writing process per run."""
