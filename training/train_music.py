"""Train a model on prepared piano music."""

from waveletgpt.training.command import train_command

if __name__ == "__main__":
    train_command("music", "Train a model on prepared piano music.")
