"""The commands of the device program, a module each: see `deploy.runner.__main__.COMMANDS`."""
