"""How a model is trained: what the built-in trainer (`real.trainer`) is made of.

| module | holds |
|---|---|
| context | What a trainer is given and gives back |
| checkpoint | A training as it stands, and how that is kept on disk |
| under_way | A training under way: all that it is made of |
| loop | Its steps and epochs |
| gradient | The gradient of a step |
| resume | What of it is in its checkpoint |
| samples | The training set as tensors |
| fetching | Minibatches on their way to the device |
| objective | Losses, and what samples weigh in them |
| optimizer | Optimizer and learning rate |
| precision, compiling | What the model computes in |
| distributed | One training on several devices |
| stopping | Early stopping |
| clock | When a checkpoint is due, and how long samples are waited for |
"""
