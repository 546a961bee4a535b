"""What a machine may label, as arrays: scores, thresholds that hold, and doubtful labels."""
