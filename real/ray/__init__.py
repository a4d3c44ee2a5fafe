"""The executor `ray`: the real executor, with its workers as actors of a Ray cluster."""
