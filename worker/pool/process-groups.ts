/** Which processes belong to which scoring host, from /proc. */
import { readdirSync, readFileSync } from 'node:fs';

/** Ten seconds of searches: ids are given out in turn, and not again so soon. */
const searchesPerFullOne = 20;

/**
 * Finds the processes of hosts' groups. Whoever was found in another group is not looked at again: a process is born into
 * the group of its parent, so that those of a host are new ones. All are looked at again now and then, for ids are reused.
 */
export class GroupSearch {
  readonly #others = new Set<number>();
  #searches = 0;

  /** Processes of the group of each of these hosts. */
  find(hosts: ReadonlySet<number>): ReadonlyMap<number, readonly number[]> {
    if (this.#searches % searchesPerFullOne === 0) this.#others.clear();
    this.#searches += 1;
    const groups = new Map<number, number[]>([...hosts].map((pid) => [pid, []]));
    for (const pid of processIds()) {
      if (this.#others.has(pid)) continue;
      const [, , group] = statFields(readProc(`/proc/${pid}/stat`));
      const members = groups.get(Number(group));
      if (members) members.push(pid);
      else this.#others.add(pid);
    }
    return groups;
  }
}

/** Whether it is in the group of a scoring host of this process, which starts each of them as the leader of its group. */
export function isOfOwnHost(pid: number): boolean {
  const [, , group = ''] = statFields(readProc(`/proc/${pid}/stat`));
  const [, parent] = statFields(readProc(`/proc/${group}/stat`));
  return Number(parent) === process.pid;
}

/** Empty when it cannot be read: the process has ended, or there is no /proc. */
export function readProc(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Of `/proc/PID/stat`, from the state on. A command may hold spaces and brackets; the numbers come after its end. */
export function statFields(stat: string): readonly string[] {
  return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
}

/** None without /proc: the caller looks at the hosts themselves, and finds nothing. */
function processIds(): readonly number[] {
  try {
    return readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}
