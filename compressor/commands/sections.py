"""A group of commands whose help lists them under headings."""

from __future__ import annotations

from typing import Any

import click


class SectionedGroup(click.Group):
    """A group whose help lists the commands by section, in the order in which they were added."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.sections: dict[str, list[str]] = {}

    def add_section(self, title: str, *commands: click.Command) -> None:
        """Add `commands`, listed under `title`."""
        self.sections[title] = [str(command.name) for command in commands]
        for command in commands:
            self.add_command(command)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, section by section."""
        return [name for names in self.sections.values() for name in names]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, their columns aligned."""
        longest = max(map(len, self.commands))
        width = formatter.width - longest - 6
        for title, names in self.sections.items():
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name.ljust(longest), self.commands[name].get_short_help_str(width))
                        for name in names
                    ]
                )
