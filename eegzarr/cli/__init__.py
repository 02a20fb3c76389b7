"""What all commands share: options from signatures, help, output that a closed pipe can't stop, exit codes."""
