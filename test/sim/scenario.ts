/** One simulated job from a seed: a cluster, an input with poison in it, a schedule of faults, and the verdict. */
import type { Deployment } from '../../common/core/deployment.ts';
import { noBatch } from '../../coordinator/core/batch-table.ts';
import { SimCoordinator, type Mutation } from './sim-coordinator.ts';
import { SimNode, type FileFate, type SimInput } from './sim-node.ts';
import { Random, World } from './world.ts';

export interface Outcome {
  readonly seed: number;
  /** What is wrong, empty when nothing is. */
  readonly faults: readonly string[];
  readonly trace: readonly string[];
  readonly virtualMs: number;
  readonly files: number;
  readonly quarantined: number;
  readonly starts: number;
  readonly messages: number;
}

const fates: readonly FileFate[] = ['error', 'crash', 'hang', 'undecodable', 'unreadable'];
const virtualMsMax = 6 * 3_600_000;

export function runScenario(seed: number, mutation: Mutation = {}): Outcome {
  const world = new World(seed);
  const { random } = world;
  const files = random.between(1, 400);
  const input = poisonedInput(seed, files);
  const deployment = simDeployment(random);
  const coordinator = new SimCoordinator(world, { files, deployment }, mutation);
  const nodes = Array.from({ length: random.between(1, 5) }, (_, index) => {
    const fastest = random.between(1, 500);
    return new SimNode({
      world,
      coordinator,
      input,
      name: `node-${index}`,
      slots: random.between(1, 3),
      scoreMs: [fastest, fastest + random.between(0, 4_000)],
    });
  });
  coordinator.start();
  for (const node of nodes) world.after(random.between(0, 2_000), () => node.start());
  scheduleFaults(world, coordinator, nodes);
  const isOver = (): boolean => coordinator.job?.isSealed === true;
  const ended = world.run(virtualMsMax, isOver);
  const faults = ended ? judge(coordinator, input, files) : [`${world.livelock ?? 'the job has not ended'}: ${describe(coordinator)}`];
  return {
    seed,
    faults,
    trace: world.trace,
    virtualMs: world.now,
    files,
    quarantined: coordinator.job?.failedFiles ?? 0,
    starts: coordinator.starts,
    messages: nodes.reduce((sum, node) => sum + node.sent, 0),
  };
}

function simDeployment(random: Random): Deployment {
  return {
    name: 'sim',
    scorer: { kind: 'onnx', scale: 1 },
    model: null,
    code: null,
    settings: {
      miniBatchSize: { kind: 'files', files: random.between(1, 20) },
      triesMax: random.between(1, 3),
      timeoutMs: 5_000,
      errorThreshold: -1,
      isolation: 'file',
      outputAction: 'append_row',
      outputFileName: 'predictions.csv',
      outputFormat: 'csv',
      loggingLevel: 'info',
      environmentVariables: {},
      instanceCountMax: null,
      concurrencyPerInstanceMax: null,
      recursive: true,
    },
  };
}

/** A property of the input alone, so that any attempt on any node meets the same. */
function poisonedInput(seed: number, files: number): SimInput {
  const random = new Random(seed ^ 0x5eed);
  const rate = random.pick([0, 0.01, 0.1]);
  const large = random.pick([0, 0.05]);
  const fate = Array.from({ length: files }, () => (random.chance(rate) ? random.pick(fates) : 'fine'));
  // At least one file is fine: a job without any row fails, which is another test.
  fate[random.between(0, files - 1)] = 'fine';
  const bytes = Array.from({ length: files }, () => (random.chance(large) ? random.pick([30_000, 5_000_000]) : random.between(5, 60)));
  return { fateOf: (file) => fate[file] ?? 'fine', rowsBytes: (file) => bytes[file] ?? 10 };
}

/** Faults come for a while and then end, so that every job can finish. */
function scheduleFaults(world: World, coordinator: SimCoordinator, nodes: readonly SimNode[]): void {
  const { random } = world;
  const count = random.between(0, 12);
  for (let index = 0; index < count; index += 1) {
    world.after(random.between(500, 120_000), () => {
      const node = random.pick(nodes);
      switch (random.between(0, 5)) {
        case 0: {
          if (!coordinator.isUp) return;
          coordinator.kill();
          world.after(random.between(10, 20_000), () => coordinator.start());
          return;
        }
        case 1:
          return coordinator.stall(random.pick([500, 5_000, 40_000]));
        case 2: {
          if (!node.isUp) return;
          node.kill();
          world.after(random.between(100, 60_000), () => node.start());
          return;
        }
        case 3:
          return node.freeze(random.pick([1_000, 20_000, 90_000]));
        default:
          return node.cutLink();
      }
    });
  }
}

/** Rows of every fine file exactly once and in order; every other file quarantined exactly once. */
function judge(coordinator: SimCoordinator, input: SimInput, files: number): readonly string[] {
  const { job } = coordinator;
  if (!job) return ['the job is gone'];
  const faults: string[] = [];
  if (job.state !== 'Completed') faults.push(`the job ended as ${job.state}: ${job.error?.message}`);
  const found = coordinator.disk.output.read(0, job.outputCommitted);
  const wanted = Array.from({ length: files }, (_, file) => file).filter((file) => input.fateOf(file) === 'fine');
  if (typeof found === 'string') faults.push(found);
  else {
    const got = found.map((rows) => rows.file).join(',');
    if (got !== wanted.join(',')) faults.push(`rows of files ${got} instead of ${wanted.join(',')}`);
  }
  const quarantined = job.failures.flatMap(({ first, count }) => Array.from({ length: count }, (_, index) => first + index));
  const poison = Array.from({ length: files }, (_, file) => file).filter((file) => input.fateOf(file) !== 'fine');
  if (quarantined.sort((a, b) => a - b).join(',') !== poison.join(',')) {
    faults.push(`quarantined ${quarantined.join(',')} instead of ${poison.join(',')}`);
  }
  if (job.scoredFiles !== wanted.length) faults.push(`counts ${job.scoredFiles} scored files instead of ${wanted.length}`);
  if (job.rows !== wanted.length) faults.push(`counts ${job.rows} rows instead of ${wanted.length}`);
  if (job.segments.size > 0) faults.push(`${job.segments.size} staging segments were never emptied`);
  if (job.cursor !== noBatch) faults.push('the cursor has not reached the end');
  return faults;
}

function describe(coordinator: SimCoordinator): string {
  const { job } = coordinator;
  if (!job) return 'no coordinator';
  return `${job.state}, ${job.committed} of ${job.total} committed, ${job.leased} leased, ${job.waiting.size} waiting, cursor ${job.cursor} ${job.cursor >= 0 ? job.batches.state(job.cursor) : ''}`;
}
