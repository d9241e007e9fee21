"""Stand-ins for what surrounds the code under test, faithful where the code relies on it."""
