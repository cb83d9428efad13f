/**
 * What scripts written for Azure's command line do with arguments, put into the form that the program's own words have: a
 * leading `ml`, the flags that say where in Azure something is, unambiguous beginnings of long flags, several values after one
 * flag, and `--output` for the form of the answer.
 */
import { BatchError } from '../common/core/batch-error.ts';

/** A flag of a command. */
export interface FlagWords {
  /** With the dashes; null: there is no such form. */
  readonly long: string | null;
  readonly short: string | null;
  readonly takesValue: boolean;
  /** Values to choose from, where there are; for completion. */
  readonly choices: readonly string[];
  readonly description: string;
}

/** A command, its flags and the commands below it. */
export interface CommandWords {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly description: string;
  readonly flags: readonly FlagWords[];
  readonly commands: readonly CommandWords[];
}

export interface NormalArguments {
  readonly args: readonly string[];
  /** `--debug` was given: errors show what they were caused by. */
  readonly isDebug: boolean;
}

/** Accepted and dropped; true: with a value. @source `az`'s global arguments */
const droppedLong: Readonly<Record<string, boolean>> = {
  '--resource-group': true,
  '--workspace-name': true,
  '--subscription': true,
  '--only-show-errors': false,
  '--verbose': false,
  '--debug': false,
};
const droppedShort: ReadonlySet<string> = new Set(['-g', '-w']);

/** Several values after one flag make one value, in which {@link wordsOfValue} finds them again. */
const wordsFlags: ReadonlySet<string> = new Set(['--add', '--remove']);
const separator = '\u001f';

/** The words of a value of `--add` or `--remove`. */
export function wordsOfValue(value: string): readonly string[] {
  return value.split(separator);
}

/** @throws USAGE for a beginning that several flags have */
export function normaliseArguments(args: readonly string[], program: CommandWords): NormalArguments {
  const walk = new Walk(program, args[0] === 'ml' ? args.slice(1) : args);
  walk.run();
  return { args: walk.out, isDebug: walk.isDebug };
}

class Walk {
  readonly out: string[] = [];
  isDebug = false;
  readonly #args: readonly string[];
  #at = 0;
  #command: CommandWords;
  /** Flags of the commands that lead here: they hold below, too. */
  #flags: readonly FlagWords[];
  /** Below here words name no commands any more. */
  #isLeaf = false;

  constructor(program: CommandWords, args: readonly string[]) {
    this.#command = program;
    this.#flags = program.flags;
    this.#args = args;
  }

  run(): void {
    while (this.#at < this.#args.length) {
      const arg = this.#args[this.#at] as string;
      this.#at += 1;
      if (arg === '--') {
        this.out.push(arg, ...this.#args.slice(this.#at));
        return;
      }
      if (arg.startsWith('--')) this.#long(arg);
      else if (/^-[^\d]/.test(arg)) this.#short(arg);
      else this.#word(arg);
    }
  }

  #word(arg: string): void {
    this.out.push(arg);
    if (this.#isLeaf) return;
    const next = this.#command.commands.find((one) => one.name === arg || one.aliases.includes(arg));
    if (!next) {
      this.#isLeaf = true;
      return;
    }
    this.#command = next;
    this.#flags = next.flags;
    this.#isLeaf = next.commands.length === 0;
  }

  #long(arg: string): void {
    const equals = arg.indexOf('=');
    const [typed, attached] = equals < 0 ? [arg, null] : [arg.slice(0, equals), arg.slice(equals + 1)];
    const name = this.#fullName(typed);
    const flag = this.#flags.find((one) => one.long === name);
    if (!flag && Object.hasOwn(droppedLong, name)) {
      this.isDebug ||= name === '--debug';
      if (droppedLong[name] && attached === null) this.#at += 1;
      return;
    }
    if (flag && wordsFlags.has(name)) {
      this.out.push(name, [...(attached === null ? [] : [attached]), ...this.#words()].join(separator));
      return;
    }
    this.out.push(attached === null ? name : `${name}=${attached}`);
    if (flag?.takesValue && attached === null) this.#value();
    if (name === '--set') this.#assignments();
  }

  #short(arg: string): void {
    const typed = arg.slice(0, 2);
    const flag = this.#flags.find((one) => one.short === typed);
    if (!flag && droppedShort.has(typed)) {
      if (arg.length === 2) this.#at += 1;
      return;
    }
    this.out.push(arg);
    if (flag?.takesValue && arg.length === 2) this.#value();
  }

  /** Whatever it looks like. */
  #value(): void {
    const value = this.#args[this.#at];
    if (value === undefined) return;
    this.out.push(value);
    this.#at += 1;
  }

  /** More of `--set a=1 b=2`: only what looks like an assignment, so that a file name that follows stays an argument. */
  #assignments(): void {
    for (let next = this.#args[this.#at]; next !== undefined && /^[\w$.[\]-]+=/.test(next);) {
      if (next.startsWith('-')) return;
      this.out.push('--set', next);
      this.#at += 1;
      next = this.#args[this.#at];
    }
  }

  #words(): readonly string[] {
    const words: string[] = [];
    for (let next = this.#args[this.#at]; next !== undefined && !/^-[^\d]/.test(next); next = this.#args[this.#at]) {
      words.push(next);
      this.#at += 1;
    }
    return words;
  }

  /** What `typed` is the beginning of; itself when it is exact, or the beginning of nothing. */
  #fullName(typed: string): string {
    const own = this.#flags.flatMap((one) => (one.long === null ? [] : [one.long]));
    if (own.includes(typed)) return typed;
    // Both names of the form of the answer, unless `--output` is a folder here.
    if (typed === '--answer' && own.includes('--output')) return '--output';
    if (Object.hasOwn(droppedLong, typed)) return typed;
    const known = [...own, ...Object.keys(droppedLong), '--help'];
    const found = [...new Set(known.filter((one) => one.startsWith(typed)))];
    if (found.length > 1) {
      throw new BatchError('USAGE', `${typed} may be ${found.slice(0, -1).join(', ')} or ${found.at(-1)}; say which`);
    }
    return found[0] ?? typed;
  }
}
