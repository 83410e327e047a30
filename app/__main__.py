"""`python -m waveletgpt.app` runs `waveletgpt`."""

from waveletgpt.app.cli import main

if __name__ == "__main__":
    main()
