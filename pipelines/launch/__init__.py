"""Jobs on Dataflow: what their workers are, what is refused beforehand, what would be submitted."""
