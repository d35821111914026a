"""What admission promises."""
