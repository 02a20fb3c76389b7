"""The processes of a build: how many share which memory, how they start and end, what is waited for."""
