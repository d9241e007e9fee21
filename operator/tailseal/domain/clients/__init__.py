"""OAuth clients: what they may do, what they prove themselves with, and what their applications are told."""
