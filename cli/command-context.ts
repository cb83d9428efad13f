/** What every command is given: a way out, a way to be interrupted, and what it may start. */
import type { Clock } from '../common/io/clock.ts';
import type { Delay } from '../common/io/delay.ts';
import type { Transport } from './api/transport.ts';
import type { Client } from './client.ts';
import type { Output, Sink } from './output.ts';
import type { Processes } from './processes.ts';

/** The machine, as the command line sees it; tests hand in their own. */
export interface CliHost {
  readonly stdout: Sink;
  readonly stderr: Sink;
  /** Absolute; where relative paths start. */
  readonly cwd: string;
  readonly clock: Clock;
  readonly delay: Delay;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly processes: Processes;
  readonly release: string;
  /** Calls `handler` at each Ctrl-C (and SIGTERM), and when the terminal goes unless it was called before, until the returned function is called. */
  onInterrupt(handler: () => void): () => void;
  /** Ends the process at once. */
  exit(code: number): void;
  readonly stdin: Source;
  /** In the user's browser; what cannot be opened is let be. */
  openUrl(url: string): void;
}

/** Where answers and files come from. */
export interface Source {
  readonly isTerminal: boolean;
  /** The next line, without its end; empty when there is none. */
  line(): Promise<string>;
  /** The same of a terminal that does not show what is typed. */
  secretLine(): Promise<string>;
  /** All there is, as text. */
  all(): Promise<string>;
}

export interface CommandContext {
  readonly host: CliHost;
  readonly output: Output;
  /** Of the coordinator that flags, environment and contexts name; `signal` ends what it asks. */
  readonly client: (signal?: AbortSignal) => Promise<Client>;
  /** The same, for what is registered there. */
  readonly transport: () => Promise<Transport>;
}

/** Exit code of a command that was interrupted. @source POSIX shells: 128 + SIGINT */
export const exitInterrupted = 130;

/**
 * Aborts at the first interrupt, after `onFirst`; the second ends the process at once, or calls `onSecond` where there is a
 * way to hurry, and then the third does.
 */
export function interruptible(
  host: CliHost,
  onFirst: () => void,
  onSecond?: () => void,
): { readonly signal: AbortSignal; dispose(): void } {
  const controller = new AbortController();
  let hurry = onSecond;
  const dispose = host.onInterrupt(() => {
    if (!controller.signal.aborted) {
      onFirst();
      return controller.abort();
    }
    if (!hurry) return host.exit(exitInterrupted);
    hurry();
    hurry = undefined;
  });
  return { signal: controller.signal, dispose };
}
