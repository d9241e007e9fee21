"""`tailseal kubectl-credential`: logs kubectl in with a token of ours."""
