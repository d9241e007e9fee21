"""The one guarded client for every outbound URL that configuration or a caller can influence."""
