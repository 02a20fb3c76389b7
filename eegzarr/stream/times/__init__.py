"""Where the time of streaming goes: measured by each process, and seen together."""
