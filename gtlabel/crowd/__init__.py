"""What people say, as arrays: labels from many answers, agreement, and who to believe."""
