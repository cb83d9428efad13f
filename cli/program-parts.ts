/** What the commands of the program share in words. */
import { Option, type Command } from 'commander';
import type { CommandContext } from './command-context.ts';
import { answerFormats, type AnswerFormat } from './output.ts';

/** Flags that every command that answers something has. */
export interface AnswerFlags {
  readonly answer?: AnswerFormat;
  readonly query?: string;
  readonly server?: string;
  readonly context?: string;
}

/** Runs the body of a command and keeps its exit code. */
export type Perform = (flags: AnswerFlags, body: (context: CommandContext) => Promise<number>) => Promise<void>;

export const nameHelp = 'name of the job, the beginning of one, or "last"';

/** `--output`, as Azure's command line has it; `--answer` where `--output` is a folder. */
export type AnswerName = '--output' | '--answer';

class AnswerOption extends Option {
  constructor(name: AnswerName) {
    super(`-o, ${name} <format>`, 'form of the answer');
    this.choices(answerFormats);
  }

  override attributeName(): string {
    return 'answer';
  }
}

export function withAnswer(command: Command, name: AnswerName = '--output'): Command {
  return command
    .addOption(new AnswerOption(name))
    .option('--query <jmespath>', 'of the answer only this, as JMESPath says it');
}

export function withServer(command: Command, name: AnswerName = '--output'): Command {
  return withAnswer(command, name)
    .option('--server <host:port>', 'HTTP address of the coordinator (default: of the context, or 127.0.0.1:7078)')
    .option('--context <name>', 'which coordinator, by its name in `context list`');
}

export function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}
