/** The program's commands and flags as plain data: what arguments are read by, and completion is made of. */
import type { Command } from 'commander';
import type { CommandWords } from './arguments.ts';

export function wordsOf(command: Command): CommandWords {
  return {
    name: command.name(),
    aliases: command.aliases(),
    description: command.description(),
    flags: command.options.map((option) => ({
      long: option.long ?? null,
      short: option.short ?? null,
      takesValue: option.required || option.optional,
      choices: option.argChoices ?? [],
      description: option.description,
    })),
    commands: command.commands.map(wordsOf),
  };
}
