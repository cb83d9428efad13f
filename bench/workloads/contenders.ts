/** Command lines that several workloads share. */
import { compiledFile, packageFile } from '../../common/io/package-files.ts';
import type { Command } from '../harness/meter.ts';
import type { Contender } from './workload.ts';

/** Batchmill as a user would type it: `more` are flags beside input and output. */
export function batchmill(deployment: string, input: string, more: readonly string[] = []): Contender {
  const flags = (output: string): string[] => [deployment, '--input', input, '--output', output, ...more];
  return {
    name: 'batchmill',
    cold: (output) => program(['run', ...flags(output)]),
    warm: { kind: 'cluster', invoke: (output) => ['job', 'submit', ...flags(output), '--wait'] },
  };
}

/** The compiled program. */
export function program(args: readonly string[]): Command {
  return { argv: [process.execPath, compiledFile('cli', 'main.js'), ...args] };
}

/** A script of `bench/` that takes `--output DIR` or `--serve`. */
export function serving(name: string, command: Command, note?: string): Contender {
  return {
    name,
    cold: (output) => ({ ...command, argv: [...command.argv, '--output', output] }),
    warm: { kind: 'serves', command: { ...command, argv: [...command.argv, '--serve'] } },
    ...(note === undefined ? {} : { note }),
  };
}

/** A script of `bench/ceilings`. */
export function ceiling(script: string, args: readonly string[], python?: string): Contender {
  const path = packageFile('bench', 'ceilings', script);
  return serving('ceiling', { argv: [python ?? process.execPath, path, ...args], env: oneThread });
}

/** A process scores on one processor; libraries that would start a thread for each are told so. */
export const oneThread: Readonly<Record<string, string>> = { OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' };
