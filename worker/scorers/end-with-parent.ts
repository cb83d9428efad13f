/**
 * A worker node that is killed cannot stop its hosts, and a script that computes for hours does not let its own process see that the
 * connection has ended. A thread does. (Python hosts ask the kernel for the same; Node cannot.)
 */
import { Worker } from 'node:worker_threads';
import { limits } from '../../common/core/limits.ts';

/** The program of the thread; text, since a file of a few lines would be one more for each host to find and read. */
const programOf = (parent: number): string => `
  setInterval(() => {
    if (process.ppid !== ${parent}) process.kill(process.pid, 'SIGKILL');
  }, ${limits.hostParentLookMs});
`;

/** From here on this process is killed soon after the one that started it has ended, whatever it is doing. */
export function endWithParent(): void {
  // Nothing of the host is needed there, and little room.
  const resourceLimits = { maxOldGenerationSizeMb: 8, maxYoungGenerationSizeMb: 1, stackSizeMb: 1 };
  const thread = new Worker(programOf(process.ppid), { eval: true, env: {}, execArgv: [], resourceLimits });
  // Then the host ends when its script next waits for something.
  thread.on('error', () => undefined);
  thread.unref();
}
