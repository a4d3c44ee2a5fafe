"""What a run in progress tells whoever looks at it from outside: a log, a status file, and the view of both."""
