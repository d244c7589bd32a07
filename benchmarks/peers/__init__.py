"""Programs of others that this project is compared with, each in an environment of its own."""
