/** What the commands of the program share in words. */
import { Option, type Command } from 'commander';
import { BatchError } from '../common/core/batch-error.ts';
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
    .option(
      '--server <host:port>',
      'HTTP address of the coordinator, or of several (default: of the context, or 127.0.0.1:7078)',
    )
    .option('--context <name>', 'which coordinator, by its name in `context list`');
}

/** Parses a flag that names a place. @throws USAGE for nothing, which would mean the current folder: most likely a shell variable is not set */
export function placeFor(flag: string): (value: string) => string {
  return (value) => {
    if (value.trim() !== '') return value;
    throw new BatchError('USAGE', `${flag} is empty: give a place, "." for the current folder; is a variable not set?`);
  };
}

export function collect(value: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), value];
}

/** The name of a job, as an argument or as `-n`. */
interface NameFlags {
  readonly name?: string;
}

/** A command about one job. @throws USAGE when it is not named, or named twice */
export function addNamed<F>(
  command: Command,
  perform: Perform,
  body: (context: CommandContext, name: string, flags: AnswerFlags & F) => Promise<number>,
): void {
  command
    .argument('[name]', nameHelp)
    .option('-n, --name <name>', 'the same')
    .action(async (argument: string | undefined, flags: AnswerFlags & F & NameFlags) => {
      const { name = argument } = flags;
      if (name === undefined) throw new BatchError('USAGE', `missing required argument 'name': ${nameHelp}`);
      if (argument !== undefined && argument !== name) {
        throw new BatchError('USAGE', `two jobs are named, ${argument} and ${name}; name one`);
      }
      await perform(flags, async (context) => await body(context, name, flags));
    });
}

/** What makes a thing: a YAML, and what is laid over it. */
export interface FileFlags {
  readonly file?: string;
  readonly set?: readonly string[];
}

export function withFile(command: Command): Command {
  return command
    .option('-f, --file <yaml>', 'what it is')
    .option('--set <key=value>', 'override any key of the YAML: --set description=words tags.a=b', collect)
    .option('--no-wait', 'accepted: what is asked for is there when the command ends');
}

/** What changes a thing. */
export interface ChangeFlags extends FileFlags {
  /** Each is the words of one flag; see `wordsOfValue`. */
  readonly add?: readonly string[];
  readonly remove?: readonly string[];
  readonly forceString?: boolean;
}

export function withChange(command: Command): Command {
  return withFile(command)
    .option('--add <words>', 'add to a list or a mapping: --add tags a=b', collect)
    .option('--remove <words>', 'take away a key, or an item of a list: --remove tags.a', collect)
    .option('--force-string', 'values of --set and --add are text');
}

/** What removes a thing. */
export interface DeleteFlags {
  readonly yes?: boolean;
  readonly force?: boolean;
}

export function withDelete(command: Command): Command {
  return command.option('-y, --yes', 'do not ask').option('--no-wait', 'accepted: it is gone when the command ends');
}

/** How local files get to the coordinator. */
export interface PathFlags {
  readonly byPath?: boolean;
}

export function withPaths(command: Command): Command {
  return command.option('--by-path', 'send no files: the coordinator sees the same disk under the same paths');
}
