/** Runs inputs through targets and counts what came of them. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Random } from '../sim/world.ts';
import { makeInput } from './mutate.ts';
import { FuzzDefect, type FuzzTarget, type OpenTarget, type Outcome } from './target.ts';

export interface Defect {
  readonly target: string;
  readonly number: number;
  readonly input: Uint8Array;
  readonly error: unknown;
}

export interface TargetCount {
  readonly name: string;
  readonly inputs: number;
  readonly accepted: number;
  readonly refused: number;
  readonly codes: Readonly<Record<string, number>>;
  readonly defects: number;
  /** Resident memory when it was through. */
  readonly rssMib: number;
}

export interface FuzzOptions {
  readonly targets: readonly FuzzTarget[];
  readonly inputs: number;
  readonly seed: number;
  /** Exists. */
  readonly dir: string;
  readonly onDefect: (defect: Defect) => void;
  readonly onTarget: (count: TargetCount) => void;
}

/** An input that takes longer hangs. */
const inputMsMax = 20_000;
/** Above what a target has when it begins: what one input may take is bounded, and nothing of it may stay. */
const growthMibMax = 1_024;
/** A target that fails at every input has said enough. */
const defectsMax = 20;

export async function fuzz(options: FuzzOptions): Promise<readonly TargetCount[]> {
  const weights = options.targets.reduce((sum, { weight }) => sum + weight, 0);
  const counts: TargetCount[] = [];
  for (const [index, target] of options.targets.entries()) {
    const inputs = Math.max(1, Math.round((options.inputs * target.weight) / weights));
    const random = new Random(options.seed * 1_000 + index);
    const count = await fuzzTarget(target, inputs, random, options);
    counts.push(count);
    options.onTarget(count);
  }
  return counts;
}

async function fuzzTarget(
  target: FuzzTarget,
  inputs: number,
  random: Random,
  { dir, onDefect }: FuzzOptions,
): Promise<TargetCount> {
  const folder = join(dir, target.name);
  mkdirSync(folder, { recursive: true });
  const open = await target.open(folder);
  const codes: Record<string, number> = {};
  let [done, accepted, refused, defects] = [0, 0, 0, 0];
  let stray: { readonly error: unknown } | null = null;
  // What nobody waits for any more would end a coordinator as well.
  const onStray = (error: unknown): void => void (stray = { error });
  process.on('uncaughtException', onStray);
  process.on('unhandledRejection', onStray);
  const rssMib = (): number => Math.round(process.memoryUsage().rss / 1_048_576);
  const rssBefore = rssMib();
  for (; done < inputs && defects < defectsMax; done += 1) {
    const input = makeInput(random, open.samples);
    try {
      const outcome = await within(open, input, random);
      if (stray !== null) throw (stray as { readonly error: unknown }).error;
      if (done % 1_000 === 0 && rssMib() > rssBefore + growthMibMax)
        throw new FuzzDefect(`memory has grown to ${rssMib()} MiB`);
      if (outcome.kind === 'accepted') accepted += 1;
      else {
        refused += 1;
        codes[outcome.code] = (codes[outcome.code] ?? 0) + 1;
      }
    } catch (error) {
      defects += 1;
      stray = null;
      onDefect({ target: target.name, number: done, input, error });
    }
  }
  // What has ended with a defect may have nothing left to close.
  await open.close().catch((error: unknown) => {
    defects += 1;
    onDefect({ target: target.name, number: done, input: new Uint8Array(0), error });
  });
  process.off('uncaughtException', onStray);
  process.off('unhandledRejection', onStray);
  return { name: target.name, inputs: done, accepted, refused, codes, defects, rssMib: rssMib() };
}

async function within(open: OpenTarget, input: Uint8Array, random: Random): Promise<Outcome> {
  const outcome = open.run(input, random);
  if (!(outcome instanceof Promise)) return outcome;
  let timer: NodeJS.Timeout | undefined;
  const hang = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new FuzzDefect(`no end within ${inputMsMax} ms`)), inputMsMax);
  });
  try {
    return await Promise.race([outcome, hang]);
  } finally {
    clearTimeout(timer);
  }
}
