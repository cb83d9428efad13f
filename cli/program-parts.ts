/** What the commands of the program share in words. */
import { Option, type Command } from 'commander';
import type { CommandContext } from './command-context.ts';
import { answerFormats, type AnswerFormat } from './output.ts';

/** Flags that every command that answers something has. */
export interface AnswerFlags {
  readonly answer?: AnswerFormat;
  readonly server?: string;
}

/** Runs the body of a command and keeps its exit code. */
export type Perform = (flags: AnswerFlags, body: (context: CommandContext) => Promise<number>) => Promise<void>;

export const nameHelp = 'name of the job, the beginning of one, or "last"';

export function withAnswer(command: Command): Command {
  return command.addOption(new Option('-o, --answer <format>', 'form of the answer').choices(answerFormats));
}

export function withServer(command: Command): Command {
  return withAnswer(command).option(
    '--server <host:port>',
    'HTTP address of the coordinator (default: BATCHMILL_SERVER or 127.0.0.1:7078)',
  );
}

export function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}
