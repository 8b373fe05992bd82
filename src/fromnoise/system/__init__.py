"""Between the mathematics and the machine: files, devices, random numbers, what is said and what is checked."""
