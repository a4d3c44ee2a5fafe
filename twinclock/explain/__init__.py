"""Why a run took as long as it did: its critical path, where the time went, what if, and a trace for a viewer."""
