/** Command lines that several workloads share. */
import { compiledFile, packageFile } from '../../common/io/package-files.ts';
import type { Command } from '../harness/meter.ts';
import type { Contender, Place } from './workload.ts';

/** Batchmill as a user would type it, and as a program that stays up would submit to it: `more` are flags beside input and output. */
export function batchmill(deployment: string, input: string, more: readonly string[] = []): [Contender, Contender] {
  const flags = [deployment, '--input', input, ...more];
  const submit = ['job', 'submit', ...flags];
  return [
    {
      name: 'batchmill',
      cold: (output) => program(['run', ...flags, '--output', output]),
      warm: { kind: 'cluster', client: 'command', submit },
    },
    { name: 'batchmill, client up', cold: null, warm: { kind: 'cluster', client: 'stays', submit } },
  ];
}

/** The compiled program. */
export function program(args: readonly string[]): Command {
  return { argv: [process.execPath, compiledFile('cli', 'main.js'), ...args] };
}

/** A script of `bench/` that takes `--output DIR` or `--serve`. */
export function serving(name: string, command: Command, rows?: Contender['rows']): Contender {
  return {
    name,
    cold: (output) => ({ ...command, argv: [...command.argv, '--output', output] }),
    warm: { kind: 'serves', command: { ...command, argv: [...command.argv, '--serve'] } },
    ...(rows === undefined ? {} : { rows }),
  };
}

/** A script of `bench/ceilings`. */
export function ceiling(script: string, args: readonly string[], python?: string): Contender {
  const path = packageFile('bench', 'ceilings', script);
  return serving('ceiling', { argv: [python ?? process.execPath, path, ...args], env: oneThread });
}

/** A process scores on one processor; libraries that would start a thread for each are told so. */
export const oneThread: Readonly<Record<string, string>> = { OMP_NUM_THREADS: '1', OPENBLAS_NUM_THREADS: '1' };

/** What a peer scores, as `bench/peers/scoring.py` takes it. */
export interface PeerWork {
  readonly kind: 'images' | 'csv' | 'parquet' | 'script' | 'nothing' | 'tiny';
  readonly input: string;
  readonly more?: readonly string[];
}

const numberedByAll: readonly PeerWork['kind'][] = ['images', 'nothing', 'tiny'];

/** Those of `bench/peers` that are wanted, each in a virtual environment of its own. */
export async function peers(place: Place, names: readonly PeerName[], work: PeerWork): Promise<Contender[]> {
  const found: Contender[] = [];
  for (const name of names.filter((one) => place.wants(one))) {
    const { script, environment, numbered }: PeerScript = peerScripts[name];
    const python = await place.python(environment);
    const path = packageFile('bench', 'peers', script);
    const argv = [python, path, work.kind, '--input', work.input, ...(work.more ?? [])];
    const isNumbered = numbered.includes(work.kind) || numberedByAll.includes(work.kind);
    const env = { ...oneThread, PYTHONPATH: packageFile('bench', 'peers') };
    found.push(serving(name, { argv, env }, isNumbered ? undefined : 'unnumbered'));
  }
  return found;
}

export type PeerName = keyof typeof peerScripts;

/** `numbered`: of which kinds it knows the number of each row in its file. */
const peerScripts = {
  multiprocessing: { script: 'with_pool.py', environment: 'scoring', numbered: ['csv', 'parquet', 'script'] },
  'ray data': { script: 'with_ray.py', environment: 'ray', numbered: ['script'] },
  daft: { script: 'with_daft.py', environment: 'daft', numbered: [] },
  dask: { script: 'with_dask.py', environment: 'dask', numbered: ['script'] },
} satisfies Record<string, PeerScript>;

interface PeerScript {
  readonly script: string;
  readonly environment: string;
  readonly numbered: readonly PeerWork['kind'][];
}

/** The peers in Python that score data. */
export const dataPeers: readonly PeerName[] = ['multiprocessing', 'ray data', 'daft', 'dask'];
