"""Train a model on prepared text."""

from waveletgpt.training.command import train_command

if __name__ == "__main__":
    train_command("text", "Train a model on prepared text.")
