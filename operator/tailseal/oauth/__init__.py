"""The protocol of an OpenID provider, pure: requests and what is known in, answers and what to keep out."""
