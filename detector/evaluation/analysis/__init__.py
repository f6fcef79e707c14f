"""Analysis of a detector's mistakes on an evaluation set, and of probably wrong labels."""
