"""`python -m fromnoise`, which is what `torchrun -m fromnoise` starts."""

from fromnoise.app.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
