/**
 * Other jobs on the simulated cluster, which want its nodes as the job itself does: of several people, with priorities of their own,
 * some of them of an endpoint that may run only so many at once. Their files are all fine, so that each must come to its end whole.
 */
import type { Deployment } from '../../common/core/deployment.ts';
import { jobName, type JobName } from '../../common/core/ids.ts';
import { plainOrigin, type JobOrigin } from '../../common/core/job-origin.ts';
import type { InputFile } from '../../common/core/input.ts';
import type { EndpointResource } from '../../coordinator/core/resources.ts';
import type { CoordinatorProcess } from './coordinator-process.ts';
import type { SimDisk } from './disk.ts';
import { fileBytes } from './plan.ts';
import type { QueuePlan, RivalPlan } from './queue-plan.ts';
import { prologue, rowOf, unmarked, type SimInput } from './sim-input.ts';
import type { World } from './world.ts';

const endpointName = 'sim';
/** Ordinals of the job itself are below. */
const firstFile = 5_000;
const filesPerRival = 100;
const askEveryMs = 1_000;

/** What is submitted beside the job itself. */
export interface Rival {
  readonly name: JobName;
  readonly deployment: Deployment;
  readonly origin: JobOrigin;
  readonly inputPath: string;
  readonly outputDir: string;
}

export function originOf(queue: QueuePlan | null): JobOrigin {
  if (queue === null) return plainOrigin;
  return { ...plainOrigin, owner: 'ann', priority: queue.priority, endpoint: queue.isLimited ? endpointName : null };
}

export function endpointOf({ limit }: QueuePlan): EndpointResource {
  return {
    ...{ kind: 'endpoint', name: endpointName, defaultDeployment: null, concurrencyMax: limit },
    ...{ createdMs: 0, changedMs: 0, createdBy: 'ann', description: null, tags: {}, properties: {} },
  };
}

/** `deployment`: of the job itself. */
export function rivalsOf(queue: QueuePlan | null, deployment: Deployment): readonly Rival[] {
  return (queue?.rivals ?? []).map(({ owner, priority: its, isLimited, perBatch }, index) => ({
    name: jobName(`rival-${index}`),
    deployment: {
      ...deployment,
      name: 'rival',
      settings: {
        ...deployment.settings,
        miniBatchSize: { kind: 'files', files: perBatch },
        ...{ triesMax: 3, errorThreshold: -1, isolation: 'file', outputFileName: 'predictions.csv', parts: null },
        ...{ instanceCountMax: null, concurrencyPerInstanceMax: null },
      },
    },
    origin: { ...plainOrigin, owner, priority: its, endpoint: isLimited ? endpointName : null },
    inputPath: `/in-rival-${index}`,
    outputDir: `/out-rival-${index}`,
  }));
}

/** Files of the rival whose input lies there; null: it is the job's own. */
export function rivalFiles(queue: QueuePlan | null, inputPath: string): readonly InputFile[] | null {
  const [, index] = /^\/in-rival-(\d+)$/.exec(inputPath) ?? [];
  const rival = index === undefined ? undefined : queue?.rivals[Number(index)];
  if (!rival) return null;
  return ordinalsOf(rival, Number(index)).map((file) => ({
    ...{ path: `f${file}`, sizeBytes: fileBytes, identity: `${fileBytes}-0` },
  }));
}

/** As scorers know them. */
function ordinalsOf({ files }: RivalPlan, index: number): readonly number[] {
  return Array.from({ length: files }, (_, at) => firstFile + filesPerRival * index + at);
}

export interface RivalsOptions {
  readonly world: World;
  readonly disk: SimDisk;
  /** The one that leads. */
  readonly coordinator: () => CoordinatorProcess;
  readonly queue: QueuePlan | null;
  readonly deployment: Deployment;
  readonly input: SimInput;
  /** A sync that was refused may have failed any job. */
  readonly mayFail: boolean;
}

export class Rivals {
  readonly #options: RivalsOptions;
  readonly #all: readonly Rival[];

  constructor(options: RivalsOptions) {
    this.#options = options;
    this.#all = rivalsOf(options.queue, options.deployment);
  }

  /** Each is asked for until it is there, and again when a crash has lost it. */
  begin(): void {
    const { world, coordinator, queue } = this.#options;
    for (const [index, rival] of this.#all.entries()) {
      const ask = (): void => {
        coordinator().submitRival(rival);
        world.after(askEveryMs, ask);
      };
      world.after(queue?.rivals[index]?.atMs ?? 0, ask);
    }
  }

  get areSealed(): boolean {
    const coordinator = this.#options.coordinator();
    return this.#all.every(({ name }) => coordinator.isUp && coordinator.ledger?.jobs.get(name)?.isSealed === true);
  }

  /** Every row is there once, in order. */
  judge(): readonly string[] {
    const { disk, input, queue, mayFail } = this.#options;
    const coordinator = this.#options.coordinator();
    const faults: string[] = [];
    for (const [index, { name, outputDir }] of this.#all.entries()) {
      const job = coordinator.ledger?.jobs.get(name);
      const files = ordinalsOf(queue?.rivals[index] as RivalPlan, index);
      if (job?.state !== 'Completed') {
        const isExcused = mayFail && job?.error?.code === 'STATE_UNWRITABLE';
        if (!isExcused) faults.push(`${name} is ${job?.state ?? 'gone'}: ${job?.error?.message ?? 'it has not ended'}`);
        continue;
      }
      const rows = files.map((file) => rowOf(file, input.rowsBytes(file)));
      const content = disk.content(`${outputDir}/predictions.csv`);
      const wanted = Buffer.concat([Buffer.from(prologue), ...rows]).toString('latin1');
      if (content === null || unmarked(content.toString('latin1')) !== wanted)
        faults.push(`rows of ${name} are others`);
    }
    return faults;
  }
}
