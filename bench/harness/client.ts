/**
 * `batchmill job submit … --wait` in a program that stays up: its arguments are the command's, without an output. Prints `ready`; each
 * line on stdin is an output folder, answered by `done` when the job has completed. Ends with the command's exit code when one fails.
 */
import { createInterface } from 'node:readline';
import { commandEnvironment } from '../../common/config/process-settings.ts';
import { systemClock } from '../../common/io/clock.ts';
import { delay } from '../../common/io/delay.ts';
import { installedProcesses } from '../../cli/processes.ts';
import { runCli } from '../../cli/run-cli.ts';
import { sourceOf } from '../../cli/stdin-source.ts';

const args = process.argv.slice(2);
const sink = { write: (text: string): void => void process.stderr.write(text), isTerminal: false, columns: 80 };

console.log('ready');
for await (const output of createInterface({ input: process.stdin })) {
  const code = await runCli([...args, '--output', output, '--wait'], {
    stdout: sink,
    stderr: sink,
    cwd: process.cwd(),
    clock: systemClock,
    delay,
    environment: commandEnvironment(),
    processes: installedProcesses,
    release: 'bench',
    onInterrupt: () => () => undefined,
    exit: (ended) => process.exit(ended),
    stdin: sourceOf(process.stdin),
    openUrl: () => undefined,
  });
  if (code !== 0) process.exit(code);
  console.log('done');
}
