"""When a SigningKey's material is made, held ready, retired and revoked."""
