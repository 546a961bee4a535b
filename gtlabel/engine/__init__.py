"""Our own Ground Truth: jobs, tasks, leases, answers and the labels made of them."""
