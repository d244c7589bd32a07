"""python -m compressor: the same as the command `compressor`."""

from compressor.commands.command_line import main

if __name__ == "__main__":
    main()
