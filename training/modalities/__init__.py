"""What training knows of each kind of data: augmentation and samples."""
