"""`python -m waveletgpt.app` is `waveletgpt`."""

from waveletgpt.app.cli import main

if __name__ == "__main__":
    main()
