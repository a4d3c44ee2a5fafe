"""Sources of samples that grow while a run goes on: what one has to do, and the watched folder."""
