"""``python -m personaeval``."""

from personaeval.cli import main

if __name__ == "__main__":
    main()
