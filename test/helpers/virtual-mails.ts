/** The e-mails as a job on eight slots in virtual time: what a plan of mini-batches adds to what no plan can beat. */
import type { MiniBatchSize } from '../../common/core/deployment.ts';
import { emailSizes } from './e-mails.ts';
import type { Harness } from './ledger-harness.ts';
import { lowerBoundMs, VirtualSlots, type VirtualJob, type VirtualRun } from './virtual-slots.ts';

const sizesBytes = emailSizes();

/** As `mini_batch_size` says them, with the most that they may take above the bound, as a share. */
export const mailPlans: readonly (readonly [text: string, size: MiniBatchSize, overMax: number])[] = [
  ['10', { kind: 'files', files: 10 }, 0.05],
  ['64KB', { kind: 'bytes', bytes: 65_536 }, 0.05],
  ['auto', { kind: 'auto' }, 0.02],
];

/** 0.5 ms a file and 5 µs a byte, on two nodes of four slots. */
export function mails(miniBatchSize: MiniBatchSize, given: Partial<VirtualJob> = {}): VirtualJob {
  return {
    sizesBytes,
    seconds: (files) => files.reduce((sum, file) => sum + 0.000_5 + 0.000_005 * (sizesBytes[file] as number), 0),
    settings: { miniBatchSize },
    nodes: [4, 4],
    ...{ latencyMs: 1, overheadMs: 2, pageMs: 50, rowBytes: 60 },
    ...given,
  };
}

export interface Played {
  readonly run: VirtualRun;
  readonly lowerBoundMs: number;
  /** By how much longer than what no plan can beat, as a share. */
  readonly over: number;
}

/** `given`: a harness in which earlier jobs were played. */
export function played(plan: VirtualJob, given?: Harness): Played {
  const run = new VirtualSlots(plan, given).run();
  const bound = lowerBoundMs(plan);
  return { run, lowerBoundMs: bound, over: run.makespanMs / bound - 1 };
}
