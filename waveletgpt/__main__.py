"""`python -m waveletgpt` runs `waveletgpt`."""

from waveletgpt.cli import main

if __name__ == "__main__":
    main()
