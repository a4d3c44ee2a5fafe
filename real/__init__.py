"""Real trainings with torch, in one worker process per device."""
