"""OAuthClient: the Secret of its application, and what its owner is told."""
