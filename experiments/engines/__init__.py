"""Where the runs of a study are performed: in processes of this machine, or on a Ray cluster."""
