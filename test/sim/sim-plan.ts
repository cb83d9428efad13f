/** What a seed asks of the cluster: an input with poison in it, a deployment, and what must come of the two. */
import { defaultOnnxSettings } from '../../common/core/onnx-settings.ts';
import type { Deployment, MiniBatchSize } from '../../common/core/deployment.ts';
import { limits } from '../../common/core/limits.ts';
import { isDeadly, type FileFate, type SimInput } from './sim-node.ts';
import { Random } from './world.ts';

export interface SimPlan {
  readonly files: number;
  readonly input: SimInput;
  readonly deployment: Deployment;
  /** What attempts on the first node take now and then, far longer than all others; 0: never. */
  readonly slowMs: number;
  /** Results that may wait for their turn. */
  readonly stagingBytesMax: number;
}

/** What the job must come to unless it is canceled. */
export interface Expected {
  readonly state: 'Completed' | 'Failed';
  /** Files whose rows are in the output, in order. */
  readonly scored: readonly number[];
  readonly quarantined: readonly number[];
}

/** As the listing gives it. */
export const fileBytes = 10;

const fates: readonly FileFate[] = [
  ...(['error', 'crash', 'hang', 'memory', 'hungry'] as const),
  ...(['undecodable', 'unreadable', 'other-columns'] as const),
];

export function planOf(seed: number): SimPlan {
  // Of its own, so that the schedule of faults does not hang on the input.
  const random = new Random(seed ^ 0x5eed);
  const files = random.between(1, 400);
  const deployment = simDeployment(random);
  const input = poisonedInput(random, files, deployment.settings.isolation === 'mini_batch');
  const slowMs = random.chance(0.4) ? random.pick([20_000, 45_000, 120_000]) : 0;
  const stagingBytesMax = random.pick([limits.stagingBytesMax, 1_000, 1_000_000, 10_000_000]);
  // What is slow on purpose does not hang.
  const settings = { ...deployment.settings, progressTimeoutMs: slowMs > 0 ? 3_600_000 : null };
  return { files, deployment: { ...deployment, settings }, input, slowMs, stagingBytesMax };
}

export function simDeployment(random: Random): Deployment {
  const sizes: readonly MiniBatchSize[] = [
    { kind: 'files', files: random.between(1, 20) },
    { kind: 'files', files: random.between(1, 20) },
    { kind: 'bytes', bytes: random.between(1, 20 * fileBytes) },
    { kind: 'auto' },
  ];
  return {
    name: 'sim',
    scorer: { kind: 'onnx', settings: defaultOnnxSettings },
    model: null,
    code: null,
    environment: { kind: 'host', python: null },
    settings: {
      miniBatchSize: random.pick(sizes),
      triesMax: random.between(1, 3),
      timeoutMs: 5_000,
      errorThreshold: random.chance(0.15) ? random.between(0, 10) : -1,
      isolation: random.chance(0.15) ? 'mini_batch' : 'file',
      outputAction: 'append_row',
      outputFileName: 'predictions.csv',
      outputFormat: 'csv',
      loggingLevel: 'info',
      environmentVariables: {},
      instanceCountMax: random.chance(0.2) ? random.between(1, 3) : null,
      concurrencyPerInstanceMax: null,
      recursive: true,
      customOutput: 'collected',
      memoryBytesMax: null,
      speculation: 'auto',
      progressTimeoutMs: null,
    },
  };
}

/** A property of the input alone, so that any attempt on any node meets the same. */
function poisonedInput(random: Random, files: number, isWhole: boolean): SimInput {
  const rate = random.pick([0, 0.01, 0.1]);
  const large = random.pick([0, 0.05, 0.3]);
  const fate = Array.from({ length: files }, () => (random.chance(rate) ? random.pick(fates) : 'fine'));
  // The first rows fix the columns, so they must be the same whichever mini-batches fail.
  const plain = Math.min(files, limits.miniBatchAutoFiles);
  for (let file = 0; file < plain; file += 1) if (isWhole || fate[file] === 'other-columns') fate[file] = 'fine';
  fate[0] = 'fine';
  const bytesOf = (): number =>
    random.chance(large) ? random.pick([30_000, 3_000_000, 5_000_000]) : random.between(5, 60);
  const bytes = Array.from({ length: files }, bytesOf);
  const customRate = random.pick([0, 0, 0.1, 0.6]);
  const custom = Array.from({ length: files }, () => (random.chance(customRate) ? 3 * bytesOf() : 0));
  return {
    customBytes: (file) => custom[file] ?? 0,
    fateOf: (file) => fate[file] ?? 'fine',
    rowsBytes: (file) => bytes[file] ?? 10,
  };
}

export function expectedOf({ files, input, deployment }: SimPlan): Expected {
  const { isolation, errorThreshold, miniBatchSize } = deployment.settings;
  const perBatch = isolation === 'file' ? 1 : filesPerBatch(miniBatchSize);
  const isQuarantined = (file: number): boolean => {
    if (input.fateOf(file) !== 'fine' && input.fateOf(file) !== 'hungry') return true;
    const first = file - (file % perBatch);
    const others = Array.from({ length: Math.min(perBatch, files - first) }, (_, index) => input.fateOf(first + index));
    return others.some((fate) => isDeadly(fate) || fate === 'other-columns');
  };
  const all = Array.from({ length: files }, (_, file) => file);
  const quarantined = all.filter(isQuarantined);
  const isFailed = errorThreshold >= 0 && quarantined.length > errorThreshold;
  const scored = all.filter((file) => !isQuarantined(file));
  return { state: isFailed ? 'Failed' : 'Completed', scored, quarantined };
}

function filesPerBatch(size: MiniBatchSize): number {
  switch (size.kind) {
    case 'files':
      return size.files;
    case 'bytes':
      return Math.max(1, Math.floor(size.bytes / fileBytes));
    case 'auto':
      return limits.miniBatchAutoFiles;
  }
}
