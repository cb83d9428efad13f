/** For the tests of the simulated disk: a process on it, and anything that may happen to a few files. */
import { expect } from 'vitest';
import { SimDisk, type DiskFault, type Later, type SimMount } from './disk.ts';
import { Random, World } from './world.ts';

export const seeds = Array.from({ length: 300 }, (_, index) => index + 1);

/** A disk with one process on it. */
export class Rig {
  readonly world: World;
  readonly disk: SimDisk;
  readonly later: Later;
  readonly mount: SimMount;

  constructor(seed: number) {
    this.world = new World(seed);
    this.disk = new SimDisk(this.world, new Random(seed * 7_919));
    this.later = (delayMs, what) => this.world.after(delayMs, what);
    this.mount = this.disk.mount(this.later);
  }

  /** Plays until `work` is done. */
  async play<T>(work: (mount: SimMount) => Promise<T>): Promise<T> {
    let isDone = false;
    const result = work(this.mount).finally(() => (isDone = true));
    // Heard below, when the world has stood still.
    result.catch(() => undefined);
    this.world.touch();
    expect(await this.world.play(1e9, () => isDone)).toBe(true);
    return result;
  }

  /** Begins `work` and plays for `ms`; whether it has ended by then. */
  async begin(ms: number, work: (mount: SimMount) => Promise<unknown>): Promise<boolean> {
    let isDone = false;
    const end = (): void => void (isDone = true);
    work(this.mount).then(end, end);
    this.world.touch();
    await this.world.play(this.world.now + ms, () => false);
    return isDone;
  }

  text(path: string): string | null {
    return this.disk.content(path)?.toString('latin1') ?? null;
  }

  count(fault: DiskFault): number {
    return this.disk.counts.get(fault) ?? 0;
  }
}

/** One byte for each character. */
export const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');

export async function put(mount: SimMount, path: string, text: string, isSynced = true): Promise<void> {
  const file = await mount.open(path, 'create');
  await file.write([bytes(text)], 0);
  if (isSynced) await file.datasync();
  await file.close();
}

/** `work`, then a power cut, then what is seen: once for each seed. */
export async function afterCut<T>(
  work: (mount: SimMount, rig: Rig) => Promise<unknown>,
  look: (rig: Rig) => T,
): Promise<T[]> {
  const found: T[] = [];
  for (const seed of seeds) {
    const rig = new Rig(seed);
    await rig.play((mount) => work(mount, rig));
    rig.disk.powerCut();
    found.push(look(rig));
  }
  return found;
}

export function times<T>(found: readonly T[], isIt: (one: T) => boolean): number {
  return found.filter(isIt).length;
}

/** The code of the error that `work` rejects with; `done` when it does not. */
export async function failure(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => 'done',
    (error: unknown) => (error as { readonly code?: unknown }).code,
  );
}

const churnDirs = ['/x', '/y', '/x/z'];
const churnPaths = churnDirs.flatMap((dir) => ['a', 'b', 'c'].map((name) => `${dir}/${name}`));

/** Anything that may happen to a few files, syncs included; what cannot be is refused and forgotten. */
export async function churn(mount: SimMount, random: Random, operations: number): Promise<void> {
  for (let done = 0; done < operations; done += 1) {
    const [path, other] = [random.pick(churnPaths), random.pick(churnPaths)];
    const dir = random.pick(churnDirs);
    const steps: readonly (() => Promise<unknown>)[] = [
      () => mount.makeDir(dir),
      () => mount.removeDir(dir),
      () => mount.syncDir(dir),
      () => mount.remove(path),
      () => mount.rename(path, other),
      () => mount.link(path, other),
      ...[0, 1, 2].map(() => () => scribble(mount, path, random)),
    ];
    await failure(random.pick(steps)());
  }
}

async function scribble(mount: SimMount, path: string, random: Random): Promise<void> {
  const file = await mount.open(path, random.chance(0.8) ? 'create' : 'replace');
  for (let writes = random.between(0, 3); writes > 0; writes -= 1) {
    if (random.chance(0.2)) await file.truncate(random.between(0, 900));
    else await file.write([bytes(String(random.between(1, 9)).repeat(random.between(1, 800)))], random.between(0, 900));
    if (random.chance(0.3)) await file.datasync();
  }
  await file.close();
}

export async function syncAll(mount: SimMount, disk: SimDisk): Promise<void> {
  for (const path of disk.paths()) await (await mount.open(path, 'read')).datasync();
  for (const dir of ['/', ...churnDirs]) await failure(mount.syncDir(dir));
}

export function snapshot(disk: SimDisk): readonly string[] {
  return disk.paths().map((path) => `${path} ${disk.content(path)?.toString('latin1')}`);
}
