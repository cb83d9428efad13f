/** Says how a scoring host ended, in the words of the person who reads the failure. */

/** As Node tells it: exactly one of the two is not null. */
export interface HostExit {
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
}

const signalReasons: Partial<Record<NodeJS.Signals, string>> = {
  SIGKILL: 'killed; perhaps out of memory',
  SIGSEGV: 'a crash in native code: invalid memory access',
  SIGBUS: 'a crash in native code: a mapped file shrank, or shared memory is full',
  SIGABRT: 'native code gave up: see the end of stderr',
  SIGILL: 'native code uses an instruction that this processor does not have',
  SIGFPE: 'native code divided by zero',
};

/** `exited with code 3`, `was ended by SIGSEGV (a crash …)`. */
export function describeExit(exit: HostExit): string {
  if (exit.signal === null) return `exited with code ${exit.exitCode}`;
  const reason = signalReasons[exit.signal];
  return reason === undefined ? `was ended by ${exit.signal}` : `was ended by ${exit.signal} (${reason})`;
}

/** The same in a few characters: `signal SIGSEGV`, `exit code 3`. */
export function briefExit(exit: HostExit): string {
  return exit.signal === null ? `exit code ${exit.exitCode}` : `signal ${exit.signal}`;
}

/** The last line of stderr that says something, for a message; empty when there is none. */
export function lastLine(stderr: string): string {
  return stderr.trimEnd().split('\n').at(-1)?.trim() ?? '';
}
