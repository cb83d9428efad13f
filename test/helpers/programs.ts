/**
 * The compiled program as real processes: started, watched, signalled and always cleaned up by process id.
 * A wait has a deadline and, when it fails, says what the process has said.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { compiledFile } from '../../common/io/package-files.ts';

export interface ProgramOptions {
  readonly cwd: string;
  /** In addition to this process's own. */
  readonly environment?: Readonly<Record<string, string>>;
  /** The program's `main.js`; by default the one that this package was compiled to. */
  readonly main?: string;
  /** Put before `node main.js …`: another user, another view of the file system. It must `exec` what follows. */
  readonly prefix?: readonly string[];
}

export interface ProgramEnd {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

const live = new Set<Program>();

export class Program {
  readonly pid: number;
  readonly ended: Promise<ProgramEnd>;
  stdout = '';
  stderr = '';
  end: ProgramEnd | null = null;
  readonly #words: string;

  constructor(args: readonly string[], options: ProgramOptions) {
    const { main = compiledFile('cli', 'main.js') } = options;
    if (!existsSync(main)) throw new Error(`${main} does not exist: run \`npm run build\` first`);
    this.#words = `batchmill ${args.join(' ')}`;
    const [command = '', ...rest] = [...(options.prefix ?? []), process.execPath, main, ...args];
    const child = spawn(command, rest, {
      cwd: options.cwd,
      // Contexts of whoever runs the tests are no part of them.
      env: { ...process.env, XDG_CONFIG_HOME: join(options.cwd, '.config'), ...options.environment },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    if (child.pid === undefined) throw new Error(`${command} cannot be started`);
    this.pid = child.pid;
    live.add(this);
    this.ended = this.#watch(child);
  }

  /** To this process alone. */
  signal(signal: NodeJS.Signals): void {
    if (this.end === null) process.kill(this.pid, signal);
  }

  /** Processes that it has started and that live, by id. */
  children(): readonly number[] {
    const path = `/proc/${this.pid}/task/${this.pid}/children`;
    return existsSync(path) ? readFileSync(path, 'utf8').split(' ').filter(Boolean).map(Number) : [];
  }

  /** Resolves when the output so far matches. */
  async says(pattern: RegExp, timeoutMs = 30_000): Promise<RegExpExecArray> {
    return await this.until(() => pattern.exec(`${this.stdout}\n${this.stderr}`), String(pattern), timeoutMs);
  }

  /** Resolves with what `probe` gives once it gives something; fails when the process ends before, or at the deadline. */
  async until<T>(
    probe: () => Promise<T | null | undefined | false> | T | null | undefined | false,
    what: string,
    timeoutMs = 30_000,
  ): Promise<T> {
    try {
      return await until(probe, what, timeoutMs, () => this.end !== null);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${this.report()}`, { cause: error });
    }
  }

  /** Resolves with its end; one that takes too long fails the test and is killed afterwards. */
  async endsWithin(timeoutMs: number): Promise<ProgramEnd> {
    await until(() => this.end, `the end of ${this.#words}`, timeoutMs).catch((error: unknown) => {
      throw new Error(`${(error as Error).message}\n${this.report()}`, { cause: error });
    });
    return await this.ended;
  }

  async kill(): Promise<ProgramEnd> {
    this.signal('SIGKILL');
    return await this.ended;
  }

  /** What it said, for messages of failures. */
  report(): string {
    const fate = this.end ? `ended with ${this.end.code ?? this.end.signal}` : `runs as ${this.pid}`;
    return `--- ${this.#words} (${fate})\n${this.stdout.slice(-2_000)}\n${this.stderr.slice(-6_000)}`;
  }

  #watch(child: ChildProcess): Promise<ProgramEnd> {
    child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.stdout += text));
    child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.stderr += text));
    return new Promise((resolve) => {
      child.once('error', (error) => (this.stderr += `\n${error.message}`));
      child.once('close', (code, signal) => {
        live.delete(this);
        this.end = { code, signal, stdout: this.stdout, stderr: this.stderr };
        resolve(this.end);
      });
    });
  }
}

/** Runs a command line to its end. */
export async function runProgram(
  args: readonly string[],
  options: ProgramOptions,
  timeoutMs = 60_000,
): Promise<ProgramEnd> {
  return await new Program(args, options).endsWithin(timeoutMs);
}

/** For afterEach: nothing that a test has started outlives it, frozen or not. */
export async function endPrograms(): Promise<void> {
  const all = [...live];
  for (const program of all) {
    // Hosts of a node that was frozen with them would stay stopped for ever.
    for (const pid of program.children()) signalIfAlive(pid, 'SIGCONT');
    program.signal('SIGKILL');
  }
  await Promise.all(all.map((program) => program.ended));
}

export function signalIfAlive(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

const lookMs = 25;

/** Looks again and again until `probe` gives something; `isHopeless` ends the wait before its deadline. */
export async function until<T>(
  probe: () => Promise<T | null | undefined | false> | T | null | undefined | false,
  what: string,
  timeoutMs = 30_000,
  isHopeless: () => boolean = () => false,
): Promise<T> {
  const deadline = systemClock.monotonic() + timeoutMs;
  for (;;) {
    const isLast = isHopeless() || systemClock.monotonic() > deadline;
    const found = await probe();
    if (found !== null && found !== undefined && found !== false) return found;
    if (isLast) throw new Error(`waited in vain for ${what}`);
    await delay(lookMs, new AbortController().signal);
  }
}
