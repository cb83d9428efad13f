/** Programs run under `meter.py`, which says what they and all that they start cost. */
import { spawn, type ChildProcess } from 'node:child_process';
import { createInterface, type Interface } from 'node:readline';
import { packageFile } from '../../common/io/package-files.ts';

/** A program to run. */
export interface Command {
  readonly argv: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** What one run cost. */
export interface Cost {
  readonly wallSeconds: number;
  /** User and system, of all processes. */
  readonly cpuSeconds: number;
  /** Of those that still live, by what they are. */
  readonly cpuByRole: Readonly<Record<string, number>>;
  /** The most at one time, of all processes; what they share counts once. */
  readonly peakBytes: number;
  /** Until there was a first byte of output; null where nobody looked, or there was none before the end. */
  readonly firstSeconds: number | null;
}

export interface MeterOptions {
  /** Collects what the programs print. */
  readonly log: string;
  readonly cwd: string;
  /** Role to a pattern of the command lines of its processes. */
  readonly labels?: Readonly<Record<string, string>>;
}

type Answer = Record<string, unknown> & { readonly error?: string };

export class Meter {
  readonly #options: MeterOptions;
  readonly #child: ChildProcess;
  readonly #answers: AsyncIterator<string>;

  constructor(options: MeterOptions) {
    this.#options = options;
    const meter = packageFile('bench', 'harness', 'meter.py');
    this.#child = spawn('python3', [meter], { stdio: ['pipe', 'pipe', 'inherit'] });
    const lines: Interface = createInterface({ input: this.#child.stdout as NodeJS.ReadableStream });
    this.#answers = lines[Symbol.asyncIterator]();
  }

  /** Starts a program that stays; resolves with the groups of `says` when its output matches. */
  async start(command: Command, says: string): Promise<readonly string[]> {
    const { groups } = await this.#ask({ op: 'start', ...command, says });
    return groups as string[];
  }

  /** Starts a program that answers lines; resolves when it is ready. */
  async serve(command: Command): Promise<void> {
    await this.#ask({ op: 'serve', ...command });
  }

  /** Runs a program to its end. `first` is a file whose first byte is waited for. @throws when it fails, with what it said */
  async run(command: Command, first?: string): Promise<Cost> {
    return costOf(await this.#ask({ op: 'run', ...command, first }));
  }

  /** Sends a line to the program that serves, and waits for its answer. `first` as of {@link run} */
  async line(line: string, first?: string): Promise<Cost> {
    return costOf(await this.#ask({ op: 'ask', line, first }));
  }

  /** Ends all that was started here. */
  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once('close', resolve));
    this.#child.stdin?.end(`${JSON.stringify({ op: 'end' })}\n`);
    await ended;
  }

  async #ask(request: Record<string, unknown>): Promise<Answer> {
    this.#child.stdin?.write(`${JSON.stringify({ ...this.#options, ...request })}\n`);
    const { value, done } = await this.#answers.next();
    if (done === true) throw new Error('the meter has ended');
    const answer = JSON.parse(value) as Answer;
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer;
  }
}

function costOf(answer: Answer): Cost {
  return {
    wallSeconds: answer['wall'] as number,
    cpuSeconds: answer['cpu'] as number,
    cpuByRole: answer['roles'] as Record<string, number>,
    peakBytes: answer['peak'] as number,
    firstSeconds: answer['first'] as number | null,
  };
}
