/** Who a process is, well enough to tell it from a later one that was given the same number. */
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { errnoOf } from './errno.ts';

export interface ProcessIdentity {
  readonly pid: number;
  readonly hostname: string;
  /** Drawn by the kernel at each start of the machine; empty where there is no /proc. */
  readonly bootId: string;
  /** Clock ticks from the machine's start to the process's; empty where there is no /proc. */
  readonly startTicks: string;
  /** Of several coordinators, of which one leads: what they have in common and nobody else has. Absent: it is not one of several. */
  readonly cluster?: string | undefined;
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    return '';
  }
}

/**
 * Field 22 of /proc/PID/stat; the command in field 2 may hold blanks and brackets. Empty for a process that is dead and only
 * waits for its parent to notice (state Z). @source proc(5)
 */
function startTicks(pid: number): string {
  const stat = readOrEmpty(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' ? '' : (fields[19] ?? '');
}

export function ownIdentity(): ProcessIdentity {
  return {
    pid: process.pid,
    hostname: hostname(),
    bootId: readOrEmpty('/proc/sys/kernel/random/boot_id'),
    startTicks: startTicks(process.pid),
  };
}

/** `unknown` when the process is of a machine into which we cannot look. */
export function lifeOf(other: ProcessIdentity): 'alive' | 'dead' | 'unknown' {
  const own = ownIdentity();
  if (other.hostname !== own.hostname) return 'unknown';
  if (other.bootId !== own.bootId) return 'dead';
  if (other.startTicks !== '') return startTicks(other.pid) === other.startTicks ? 'alive' : 'dead';
  try {
    process.kill(other.pid, 0);
    return 'alive';
  } catch (error) {
    return errnoOf(error) === 'ESRCH' ? 'dead' : 'alive';
  }
}
