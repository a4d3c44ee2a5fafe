"""How a stage graph is drawn as a picture; `twinclock.picture` is the way in."""
