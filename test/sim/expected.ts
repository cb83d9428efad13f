/** What a plan must come to, worked out from the plan alone. */
import { defaultOnnxSettings } from '../../common/core/onnx-settings.ts';
import type { Deployment } from '../../common/core/deployment.ts';
import type { PartsForm } from '../../common/core/parts-form.ts';
import { fileBytes, type JobSettings, type Plan } from './plan.ts';
import { isDeadly, type FileFate, type SimInput } from './sim-input.ts';

/** What the job must come to unless it is canceled. */
export interface Expected {
  readonly state: 'Completed' | 'Failed';
  /** Files whose rows are in the output, in order. */
  readonly scored: readonly number[];
  readonly quarantined: readonly number[];
}

/** An input of which single files may be mended. */
export interface MendableInput extends SimInput {
  mend(file: number): void;
  /** How often: part of the file's identity. */
  mendings(file: number): number;
}

/** The first of them are fine, so that the first rows have the job's columns. */
const plainFiles = 32;

/** A property of the input alone, so that any attempt on any node meets the same. */
export function inputOf({ files, odd, settings, seed }: Plan): MendableInput {
  const fates = new Map<number, FileFate>();
  const bytes = new Map<number, number>();
  const custom = new Map<number, number>();
  // The first rows fix the columns, so they must be the same whichever mini-batches fail.
  const plain = Math.min(files, plainFiles);
  for (const one of odd) {
    const file = one.at % files;
    const mustFit = file < plain && (settings.isolation === 'mini_batch' || one.fate === 'other-columns');
    if (file > 0 && !mustFit) fates.set(file, one.fate);
    if (one.bytes !== null) bytes.set(file, one.bytes);
    if (one.customBytes > 0) custom.set(file, one.customBytes);
  }
  const mended = new Map<number, number>();
  return {
    fateOf: (file) => (mended.has(file) ? 'fine' : (fates.get(file) ?? 'fine')),
    rowsBytes: (file) => bytes.get(file) ?? 5 + (Math.imul(file + seed, 0x9e3779b1) >>> 26),
    customBytes: (file) => custom.get(file) ?? 0,
    mend: (file) => void mended.set(file, (mended.get(file) ?? 0) + 1),
    mendings: (file) => mended.get(file) ?? 0,
  };
}

export function deploymentOf({ settings, nodes, timeoutMs, progressTimeoutMs, partRows }: Plan): Deployment {
  return {
    name: 'sim',
    scorer: { kind: 'onnx', settings: defaultOnnxSettings },
    model: null,
    code: null,
    environment: { kind: 'host', python: null },
    settings: {
      ...settings,
      timeoutMs,
      outputAction: 'append_row',
      outputFileName: partRows === null ? 'predictions.csv' : 'part-00000.csv',
      outputFormat: 'csv',
      parts: partRows === null ? null : partsOf(partRows),
      loggingLevel: 'info',
      environmentVariables: {},
      recursive: true,
      customOutput: 'collected',
      memoryBytesMax: null,
      speculation: 'auto',
      // What is slow on purpose does not hang.
      progressTimeoutMs: progressTimeoutMs ?? (nodes.some(({ slowMs }) => slowMs > 0) ? 3_600_000 : null),
    },
  };
}

/** Files of so many rows, unless a mini-batch has more. */
function partsOf(fileRows: number): PartsForm {
  return {
    ...{ format: 'csv', partitionBy: [], header: true, fileRows, fileBytes: null },
    ...{ rowGroupRows: 1_000, compression: 'none' },
  };
}

/** `settings` are those of the first life: mini-batches keep the bounds of the first cut where the whole of one is given up. */
export function expectedOf(files: number, input: SimInput, settings: JobSettings, errorThreshold: number): Expected {
  const { isolation, miniBatchSize } = settings;
  const perBatch = isolation === 'file' ? 1 : filesPerBatch(miniBatchSize);
  const isQuarantined = (file: number): boolean => {
    const fate = input.fateOf(file);
    if (fate !== 'fine' && fate !== 'hungry') return true;
    const first = file - (file % perBatch);
    const others = Array.from({ length: Math.min(perBatch, files - first) }, (_, index) => input.fateOf(first + index));
    return others.some((other) => isDeadly(other) || other === 'other-columns');
  };
  const all = Array.from({ length: files }, (_, file) => file);
  const quarantined = all.filter(isQuarantined);
  const isFailed = errorThreshold >= 0 && quarantined.length > errorThreshold;
  return {
    state: isFailed ? 'Failed' : 'Completed',
    scored: all.filter((file) => !isQuarantined(file)),
    quarantined,
  };
}

function filesPerBatch(size: JobSettings['miniBatchSize']): number {
  switch (size.kind) {
    case 'files':
      return size.files;
    case 'bytes':
      return Math.max(1, Math.floor(size.bytes / fileBytes));
    case 'auto':
    case 'seconds':
      throw new Error('which files go together is not known before: a plan gives them up one by one');
  }
}
