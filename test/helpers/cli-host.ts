/** A machine for the command line that keeps what was written and lets a test press Ctrl-C. */
import { monotonicMs } from '../../common/core/ids.ts';
import type { CliHost } from '../../cli/command-context.ts';
import type { Processes } from '../../cli/processes.ts';
import { runCli } from '../../cli/run-cli.ts';

export interface CliRun {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface TestHost extends CliHost {
  out: string;
  err: string;
  readonly exits: number[];
  /** Pages that were to be shown. */
  readonly opened: string[];
  /** Presses Ctrl-C; returns how many were listening. */
  interrupt(): number;
  nowMs: number;
}

export interface TestHostOptions {
  readonly cwd?: string;
  readonly isTerminal?: boolean;
  readonly environment?: Readonly<Record<string, string>>;
  readonly processes?: Partial<Processes>;
  readonly delay?: CliHost['delay'];
  /** What is typed, or comes through a pipe. */
  readonly stdin?: string;
  /** What is typed where the terminal does not show it. */
  readonly typedUnseen?: string;
}

const none: Processes = {
  startCoordinator: () => Promise.reject(new Error('no coordinator in this test')),
  startWorker: () => Promise.reject(new Error('no worker node in this test')),
  runEmbedded: () => Promise.reject(new Error('no embedded run in this test')),
};

export function testHost(options: TestHostOptions = {}): TestHost {
  const handlers = new Set<() => void>();
  const isTerminal = options.isTerminal ?? false;
  const host: TestHost = {
    out: '',
    err: '',
    exits: [],
    nowMs: 0,
    stdout: { write: (text) => void (host.out += text), isTerminal, columns: 80 },
    stderr: { write: (text) => void (host.err += text), isTerminal, columns: 80 },
    cwd: options.cwd ?? process.cwd(),
    clock: { monotonic: () => monotonicMs(host.nowMs), wall: () => host.nowMs },
    delay: options.delay ?? (() => Promise.resolve()),
    // Contexts of whoever runs the tests are no part of them.
    environment: { XDG_CONFIG_HOME: '/nowhere', ...options.environment },
    processes: { ...none, ...options.processes },
    release: '1.2.3',
    onInterrupt: (handler) => {
      handlers.add(handler);
      return () => void handlers.delete(handler);
    },
    exit: (code) => void host.exits.push(code),
    stdin: {
      isTerminal,
      line: () => Promise.resolve((options.stdin ?? '').split('\n')[0] ?? ''),
      secretLine: () => Promise.resolve(options.typedUnseen ?? ''),
      all: () => Promise.resolve(options.stdin ?? ''),
    },
    openUrl: (url) => void host.opened.push(url),
    opened: [],
    interrupt: () => {
      const count = handlers.size;
      [...handlers].forEach((handler) => handler());
      return count;
    },
  };
  return host;
}

/** Runs a command line to its end. */
export async function cli(args: readonly string[], options: TestHostOptions = {}): Promise<CliRun> {
  const host = testHost(options);
  const code = await runCli(args, host);
  return { code, stdout: host.out, stderr: host.err };
}
