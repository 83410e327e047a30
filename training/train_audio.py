"""Train a model on prepared audio."""

from waveletgpt.training.command import train_command

if __name__ == "__main__":
    train_command("audio", "Train a model on prepared audio.")
