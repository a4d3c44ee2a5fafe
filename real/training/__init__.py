"""How a model is trained: what the built-in trainer (`real.trainer`) is made of.

| module | holds |
|---|---|
| context | What a trainer is given and gives back |
| checkpoint | A training as it stands, and how that is kept on disk |
"""
