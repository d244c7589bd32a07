"""The `compressor` command, run from a clone: python cli.py ..."""

from compressor.commands.command_line import main

if __name__ == "__main__":
    main()
