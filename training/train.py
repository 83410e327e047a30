"""Train a model on prepared data of any kind."""

from waveletgpt.training.command import train_command

if __name__ == "__main__":
    train_command(None, "Train a model on prepared data of any kind.")
