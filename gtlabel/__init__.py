"""gtlabel: from unlabeled pictures to a classifier on a camera."""
