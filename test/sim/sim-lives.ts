/**
 * What people do to a simulated job: pause it, cancel it, mend its input and retry, resume it under other settings,
 * prune it. Drawn from a generator of its own, so that the schedule of faults does not hang on it.
 */
import type { DeploymentSettings, MiniBatchSize } from '../../common/core/deployment.ts';
import type { ReopenScope } from '../../coordinator/core/life-events.ts';
import type { SimCoordinator } from './sim-coordinator.ts';
import type { SimInput } from './sim-node.ts';
import { fileBytes } from './sim-plan.ts';
import { Random, type World } from './world.ts';

/** An input of which single files may be mended. */
export interface MendableInput extends SimInput {
  mend(file: number): void;
}

export function mendable(input: SimInput): MendableInput {
  const mended = new Set<number>();
  return {
    ...input,
    fateOf: (file) => (mended.has(file) ? 'fine' : input.fateOf(file)),
    mend: (file) => void mended.add(file),
  };
}

export interface Lives {
  /** How the job goes on after it has ended, or null when it does not. */
  next(): { readonly scope: ReopenScope; readonly settings: Partial<DeploymentSettings> } | null;
  readonly isPruned: boolean;
}

/** Failures of a file whose mini-batch is committed all the same. */
const listed: ReadonlySet<string> = new Set(['INPUT_UNREADABLE', 'INPUT_DECODE_FAILED']);

const livesMax = 4;

export function playLives(seed: number, world: World, coordinator: SimCoordinator, input: MendableInput): Lives {
  const random = new Random(seed ^ 0x11fe5);
  let lives = 1;
  const meddle = (): void => {
    if (random.chance(0.25)) {
      const at = random.between(100, 40_000);
      world.after(at, () => coordinator.pause(true));
      // Asked for again and again, since a crash or a stop may lose it.
      for (let later = 1; later < 8; later += 1) world.after(at + later * 15_000, () => coordinator.pause(false));
    }
    if (random.chance(0.15)) {
      const grace = random.pick([0, 500, 5_000, 120_000]);
      const at = random.between(100, 30_000);
      world.after(at, () => coordinator.cancel(grace));
      if (random.chance(0.3)) world.after(at + random.between(10, 4_000), () => coordinator.cancel(grace));
    }
  };
  meddle();
  return {
    isPruned: random.chance(0.2),
    next: () => {
      const { job } = coordinator;
      if (!job || lives >= livesMax || !random.chance(0.85)) return null;
      const scope = job.state === 'Completed' || random.chance(0.3) ? 'failed' : 'rest';
      if (job.state === 'Completed' && job.failedFiles === 0) return null;
      const rate = random.pick([0, 0.5, 1]);
      for (const { first, count, failure } of job.failures) {
        // What was committed without this file is scored again only when the failed files are asked for.
        if (scope === 'rest' && listed.has(failure.code)) continue;
        for (let file = first; file < first + count; file += 1) if (random.chance(rate)) input.mend(file);
      }
      lives += 1;
      const isCut = job.deployment.settings.isolation === 'file' && random.chance(0.4);
      const settings = { errorThreshold: -1, ...(isCut ? { miniBatchSize: anySize(random) } : {}) };
      if (lives < livesMax) meddle();
      return { scope, settings };
    },
  };
}

function anySize(random: Random): MiniBatchSize {
  return random.chance(0.6)
    ? { kind: 'files', files: random.between(1, 25) }
    : { kind: 'bytes', bytes: random.between(1, 25 * fileBytes) };
}
