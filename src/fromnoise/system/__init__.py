"""The layer between mathematics and machine: files, devices, random numbers, messages and checks of arguments."""
