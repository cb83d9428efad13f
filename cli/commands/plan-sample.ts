/** `plan --sample`: some files of the input, scored as a job of their own with coordinator, worker node and hosts, and nothing kept. */
import { mkdtemp, rm } from 'node:fs/promises';
import { availableParallelism, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import type { LocalDeployment } from '../../common/core/deployment.ts';
import { chooseSample } from '../../coordinator/core/sample.ts';
import { sampleReport, type SampleReport } from '../../coordinator/core/sample-report.ts';
import type { Inputs } from '../../coordinator/input/input-by-location.ts';
import type { InputLook } from '../../coordinator/plan-input.ts';
import { sampleFindings, samplePaths, sampleSelection } from '../../coordinator/plan-sample.ts';
import { interruptible, type CommandContext } from '../command-context.ts';

export interface SampleOptions {
  readonly deployment: LocalDeployment;
  readonly inputs: Pick<Inputs, 'listInput'>;
  readonly inputPath: string;
  readonly look: InputLook;
  /** Files of the sample. */
  readonly sampled: number;
  /** Of this machine. */
  readonly slots: number;
  readonly python: string;
}

/** Files of the sample for each process: the first one of each is slower than the others, and should not be most of them. */
const filesPerSlot = 4;

/** Null when it was interrupted. @throws what scoring throws before any file is scored: init() that fails, a model that cannot be loaded */
export async function scoreSample(context: CommandContext, options: SampleOptions): Promise<SampleReport | null> {
  const { host, output } = context;
  const { deployment, inputs, inputPath, look, sampled, python } = options;
  const { population, report } = look;
  const chosen = chooseSample(population, sampled);
  const paths = await samplePaths(inputs, inputPath, look, chosen);
  const concurrency = deployment.settings.concurrencyPerInstanceMax ?? options.slots;
  const slots = Math.max(1, Math.min(options.slots, concurrency, Math.floor(paths.length / filesPerSlot)));
  output.note(
    `sample      ${paths.length} of ${report.files} files, scored here on ${slots} of ${options.slots} slots`,
  );
  const interrupt = interruptible(host, () => output.note('stopping; once more to stop at once'));
  const folder = await mkdtemp(join(tmpdir(), 'batchmill-sample-'));
  const outputDir = join(folder, 'out');
  try {
    const job = await host.processes.runEmbedded({
      deployment: fileByFile(deployment),
      inputPath,
      selection: await sampleSelection(folder, look, paths),
      outputDir,
      isOverwrite: false,
      since: null,
      nodes: 1,
      slots,
      python,
      signal: interrupt.signal,
      onEvent: ({ job: { files } }) => {
        if (host.stderr.isTerminal) output.progress(`scoring  ${files.scored + files.failed} of ${paths.length} files`);
      },
      onErrors: () => undefined,
      onKept: () => undefined,
    });
    if (interrupt.signal.aborted) return null;
    const found = await sampleFindings(outputDir, chosen, paths, deployment.settings.outputFileName);
    // A sample of which every file fails is an answer; a scorer that does not start is none.
    const isAnswer = found.files.some(({ seconds, failure }) => seconds > 0 || failure !== null);
    if (job.error !== null && !isAnswer)
      throw new BatchError(job.error.code, job.error.message, { detail: job.error.detail });
    return sampleReport({ population, chosen, found, slots: report.slots, machine: thisMachine() });
  } finally {
    interrupt.dispose();
    await rm(folder, { recursive: true, force: true });
  }
}

/** A mini-batch for each file, tried once, so that each is timed and judged by itself; rows as they are scored, in one file. */
function fileByFile(deployment: LocalDeployment): LocalDeployment {
  return {
    ...deployment,
    settings: {
      ...deployment.settings,
      ...{ miniBatchSize: { kind: 'files', files: 1 }, triesMax: 1, isolation: 'file', errorThreshold: -1 },
      ...{ speculation: 'off', customOutput: 'collected', instanceCountMax: null, parts: null },
      splitFiles: { kind: 'off' },
    },
  };
}

/** A control group may leave less memory than the machine has. */
function thisMachine(): { readonly processors: number; readonly memoryBytes: number } {
  const limit = process.constrainedMemory();
  const memoryBytes = limit > 0 ? Math.min(totalmem(), limit) : totalmem();
  return { processors: availableParallelism(), memoryBytes };
}
