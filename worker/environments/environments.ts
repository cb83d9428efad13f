/**
 * Environments of Python scorers on this node: each made once, shared by all slots and by all worker nodes that use the
 * same scratch folder, kept for later jobs.
 *
 *   <root>/<key>/<number>/          an environment: made where it stays, since virtual environments cannot be moved
 *   <root>/<key>/ready.json         written last: which of them is whole; what it does not name is half-built
 *   <root>/<key>.lock               who builds, and that he lives
 *   <root>/<key>.log                all that the installer has said
 *
 * Every build has a folder of its own: the installer of a builder that was killed may live on for a while, and must not
 * write into what the next one makes.
 */
import { createHash, randomUUID } from 'node:crypto';
import { readdir, readFile, rename, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { getuid } from 'node:process';
import * as z from 'zod';
import type { Environment } from '../../common/config/process-settings.ts';
import { BatchError, toBatchError } from '../../common/core/batch-error.ts';
import { unreachable } from '../../common/core/invariant.ts';
import { limits } from '../../common/core/limits.ts';
import { parseJson } from '../../common/core/parse-json.ts';
import type { Clock } from '../../common/io/clock.ts';
import type { Delay } from '../../common/io/delay.ts';
import { errnoOf, outsideError } from '../../common/io/errno.ts';
import { tryLock } from '../../common/io/lock-file.ts';
import type { Log } from '../../common/io/log.ts';
import { makeFolder } from '../../common/io/make-folder.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import { buildEnvironment } from './build-environment.ts';
import { installerEnvironment } from './installer-environment.ts';
import type { InstallerOutput } from './installer-output.ts';
import { askInterpreter, pipConfiguration } from './node-tools.ts';
import { planEnvironment, type BuiltSpec, type NodeTools, type Runner } from './plan-environment.ts';
import { formatVersion } from './python-version.ts';

export interface EnvironmentsOptions {
  /** Absolute. */
  readonly root: string;
  /** Of the worker node. */
  readonly environment: Environment;
  /** What the node has to build with; asked before each build, since somebody may have installed something. */
  readonly findTools: () => Promise<NodeTools>;
  readonly clock: Clock;
  readonly delay: Delay;
  readonly log: Log;
}

export interface Waiter {
  /** Ends the wait, and the build when nobody else waits for it. */
  readonly signal: AbortSignal;
  /** One line for people while it is being built, at most every `limits.environmentProgressMs`; empty at the end. */
  readonly onProgress: (text: string) => void;
}

/** An environment that is whole. */
export interface Prepared {
  readonly runner: Runner;
  /** For whoever reads the log of a scoring host: what is not as the deployment asks for. */
  readonly warnings: readonly string[];
}

interface Build {
  readonly promise: Promise<Prepared>;
  readonly waiters: Set<Waiter>;
  readonly stopping: AbortController;
}

const readySchema = z.object({
  runner: z.discriminatedUnion('kind', [
    z.object({ kind: z.enum(['venv', 'conda']), dir: z.string(), python: z.string() }),
    z.object({ kind: z.literal('apptainer'), apptainer: z.string(), image: z.string() }),
  ]),
  warnings: z.array(z.string()),
});

export class Environments {
  readonly #options: EnvironmentsOptions;
  readonly #builds = new Map<string, Build>();
  readonly #failures = new Map<string, { readonly at: number; readonly error: BatchError }>();
  /** Looked into once by this process. */
  readonly #known = new Set<string>();
  /** Builds that this process has begun. */
  builds = 0;

  constructor(options: EnvironmentsOptions) {
    this.#options = options;
  }

  /**
   * The environment of `spec`, made unless it is there; those who ask at the same time share one build.
   * Throws ENVIRONMENT_INVALID, ENVIRONMENT_UNSUPPORTED, ENVIRONMENT_BUILD_FAILED, DISK_FULL, STATE_UNWRITABLE, and the
   * signal's reason.
   */
  async prepare(spec: BuiltSpec, waiter: Waiter): Promise<Prepared> {
    const key = keyOf(spec);
    for (;;) {
      waiter.signal.throwIfAborted();
      const build = this.#builds.get(key);
      if (!build?.stopping.signal.aborted) return this.#join(build ?? this.#begin(key, spec), waiter);
      // Given up by all who waited; it ends soon.
      await build.promise.catch(() => undefined);
    }
  }

  /** Removes what no job has used for long. */
  async sweep(): Promise<void> {
    const { root, clock } = this.#options;
    for (const name of await listDir(root)) {
      if (!/^[0-9a-f]+$/.test(name)) continue;
      const isOld = async (): Promise<boolean> => {
        const path = join(root, name, 'ready.json');
        const entry = (await stat(path).catch(ignoreMissing)) ?? (await stat(join(root, name)).catch(ignoreMissing));
        return entry !== undefined && clock.wall() - entry.mtimeMs > limits.artifactUnusedMsMax;
      };
      if (!(await isOld())) continue;
      const lock = await tryLock(join(root, `${name}.lock`), nodeFileSystem);
      if (lock.kind !== 'taken') continue;
      try {
        if (!(await isOld())) continue;
        await rm(join(root, name, 'ready.json'), { force: true });
        await rm(join(root, name), { recursive: true, force: true });
        await rm(join(root, `${name}.log`), { force: true });
      } finally {
        await lock.release();
      }
    }
  }

  async #join(build: Build, waiter: Waiter): Promise<Prepared> {
    build.waiters.add(waiter);
    const { signal } = waiter;
    let leave = (): void => undefined;
    const left = new Promise<never>((_, reject) => {
      leave = (): void => {
        build.waiters.delete(waiter);
        if (build.waiters.size === 0) build.stopping.abort(signal.reason);
        // The last one waits until the installer is gone.
        const gone = build.waiters.size === 0 ? build.promise.catch(() => undefined) : Promise.resolve();
        void gone.then(() => reject(signal.reason as Error));
      };
      signal.addEventListener('abort', leave);
    });
    left.catch(() => undefined);
    try {
      return await Promise.race([build.promise, left]);
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  #begin(key: string, spec: BuiltSpec): Build {
    const waiters = new Set<Waiter>();
    const stopping = new AbortController();
    const promise = this.#make(key, spec, waiters, stopping.signal)
      .catch((error: unknown) => {
        stopping.signal.throwIfAborted();
        throw outsideError(error, `the environment in ${join(this.#options.root, key)}`) ?? error;
      })
      .finally(() => this.#builds.delete(key));
    const build = { promise, waiters, stopping };
    this.#builds.set(key, build);
    return build;
  }

  async #make(key: string, spec: BuiltSpec, waiters: ReadonlySet<Waiter>, signal: AbortSignal): Promise<Prepared> {
    const ready = await this.#ready(key);
    if (ready) return ready;
    const { clock } = this.#options;
    const failed = this.#failures.get(key);
    if (failed && clock.monotonic() - failed.at < limits.environmentFailureKeptMs) throw failed.error;
    this.#failures.delete(key);
    const progress = new Progress(labelOf(spec), waiters, this.#options);
    try {
      await makeFolder(this.#options.root);
      const release = await this.#lock(key, progress, signal);
      try {
        return (await this.#ready(key)) ?? (await this.#build(key, spec, progress, signal));
      } finally {
        await release();
      }
    } catch (error) {
      if (!signal.aborted && error instanceof BatchError) this.#failures.set(key, { at: clock.monotonic(), error });
      throw error;
    } finally {
      await progress.end();
    }
  }

  /** What is there and works; null when it must be built. */
  async #ready(key: string): Promise<Prepared | null> {
    const path = join(this.#options.root, key, 'ready.json');
    const entry = await stat(path).catch(ignoreMissing);
    // Nobody else decides which program runs as this user.
    if (entry === undefined || (entry.uid !== 0 && entry.uid !== getuid?.())) return null;
    const text = await readFile(path, 'utf8').catch(ignoreMissing);
    if (text === undefined) return null;
    const ready = readySchema.safeParse(parseJson(text)).data;
    if (!ready || (!this.#known.has(key) && !(await works(ready.runner)))) return null;
    this.#known.add(key);
    const seconds = this.#options.clock.wall() / 1_000;
    // Only for `sweep`.
    await utimes(path, seconds, seconds).catch(() => undefined);
    return ready;
  }

  async #build(key: string, spec: BuiltSpec, progress: Progress, signal: AbortSignal): Promise<Prepared> {
    const { root, log, environment, findTools } = this.#options;
    const home = join(root, key);
    this.#known.delete(key);
    const dir = join(home, randomUUID().slice(0, 8));
    const plan = planEnvironment(spec, await findTools(), { dir });
    for (const note of plan.notes) log.info(note, { environment: plan.name });
    for (const warning of plan.warnings) log.warn(warning);
    this.builds += 1;
    await rm(home, { recursive: true, force: true });
    await makeFolder(home);
    try {
      const logPath = `${home}.log`;
      const onStep = (phase: string, output: InstallerOutput): void => progress.begin(phase, output);
      if (plan.tool === 'apptainer') await makeFolder(dir);
      const pip = await pipConfiguration(environment);
      await buildEnvironment(plan, { logPath, environment: installerEnvironment(environment, pip), signal, onStep });
      await checkBuilt(plan.name, plan.runner);
    } catch (error) {
      await rm(home, { recursive: true, force: true });
      throw error;
    }
    const prepared: Prepared = { runner: plan.runner, warnings: plan.warnings };
    const path = join(home, 'ready.json');
    await writeFile(`${path}.partial`, `${JSON.stringify(prepared)}\n`);
    await rename(`${path}.partial`, path);
    this.#known.add(key);
    log.info('an environment is ready', { environment: plan.name, tool: plan.tool, seconds: progress.seconds });
    return prepared;
  }

  /** Waits for whoever builds the same; what he made is found afterwards. */
  async #lock(key: string, progress: Progress, signal: AbortSignal): Promise<() => Promise<void>> {
    const { root, clock, delay } = this.#options;
    const path = join(root, `${key}.lock`);
    let sign = { mtimeMs: -1, since: clock.monotonic() as number };
    for (;;) {
      signal.throwIfAborted();
      const tried = await tryLock(path, nodeFileSystem);
      if (tried.kind === 'taken') {
        const stop = progress.everyBeat(() => utimes(path, clock.wall() / 1_000, clock.wall() / 1_000));
        return async () => {
          stop();
          await tried.release();
        };
      }
      progress.begin('waiting for another worker node that builds it', null);
      const mtimeMs = (await stat(path).catch(ignoreMissing))?.mtimeMs ?? -1;
      if (mtimeMs !== sign.mtimeMs) sign = { mtimeMs, since: clock.monotonic() };
      const isSilent = clock.monotonic() - sign.since > limits.environmentLockSilentMs;
      if (tried.kind === 'held' && tried.life === 'unknown' && isSilent) await rm(path, { force: true });
      await delay(limits.environmentLockPollMs, signal);
    }
  }
}

/** Tells those who wait how far it is, at a bounded rate, and keeps the lock's sign of life going. */
class Progress {
  readonly #label: string;
  readonly #waiters: ReadonlySet<Waiter>;
  readonly #clock: Clock;
  readonly #startedAt: number;
  readonly #over = new AbortController();
  #phase = '';
  #output: InstallerOutput | null = null;
  #onBeat: () => Promise<void> = () => Promise.resolve();
  readonly #beats: Promise<void>;
  #told = '';

  constructor(label: string, waiters: ReadonlySet<Waiter>, { clock, delay }: EnvironmentsOptions) {
    this.#label = label;
    this.#waiters = waiters;
    this.#clock = clock;
    this.#startedAt = clock.monotonic();
    this.#beats = this.#beat(delay);
  }

  get seconds(): number {
    return Math.round((this.#clock.monotonic() - this.#startedAt) / 1_000);
  }

  begin(phase: string, output: InstallerOutput | null): void {
    const isNew = phase !== this.#phase;
    this.#phase = phase;
    this.#output = output;
    if (isNew) this.#tell();
  }

  /** Returns what ends it. */
  everyBeat(onBeat: () => Promise<void>): () => void {
    this.#onBeat = onBeat;
    return () => {
      this.#onBeat = () => Promise.resolve();
    };
  }

  async end(): Promise<void> {
    this.#over.abort();
    await this.#beats;
    if (this.#told !== '') for (const { onProgress } of this.#waiters) onProgress('');
  }

  async #beat(delay: Delay): Promise<void> {
    const { signal } = this.#over;
    while (!signal.aborted) {
      await delay(limits.environmentProgressMs, signal);
      if (signal.aborted) return;
      if (this.#phase !== '') this.#tell();
      // A lock that somebody has taken away is no reason to stop.
      await this.#onBeat().catch(() => undefined);
    }
  }

  #tell(): void {
    const line = this.#output?.current ?? '';
    const text = `environment ${this.#label}: ${this.#phase} ${this.seconds} s${line === '' ? '' : ` · ${line}`}`;
    if (text === this.#told) return;
    this.#told = text;
    for (const { onProgress } of this.#waiters) onProgress(text);
  }
}

/** Name of the folder: the start of the digest. */
function keyOf(spec: BuiltSpec): string {
  const text = spec.kind === 'conda' ? spec.conda.digest : `${spec.image}\n${spec.conda?.digest ?? ''}`;
  const hex = spec.kind === 'conda' ? /^sha256:([0-9a-f]{64})$/.exec(text)?.[1] : undefined;
  return (hex ?? createHash('sha256').update(text).digest('hex')).slice(0, 16);
}

function labelOf(spec: BuiltSpec): string {
  switch (spec.kind) {
    case 'conda':
      return spec.conda.name;
    case 'image':
      return spec.conda?.name ?? spec.image;
    default:
      return unreachable(spec);
  }
}

/** @throws ENVIRONMENT_BUILD_FAILED, ENVIRONMENT_UNSUPPORTED */
async function checkBuilt(name: string, runner: Runner): Promise<void> {
  if (runner.kind === 'apptainer') return;
  const found = await askInterpreter(runner.python);
  if (found === null) {
    throw new BatchError('ENVIRONMENT_BUILD_FAILED', `environment ${name}: ${runner.python} does not run`);
  }
  const [major, minor] = found.version;
  if (major > 3 || (major === 3 && minor >= 8)) return;
  throw new BatchError(
    'ENVIRONMENT_UNSUPPORTED',
    `environment ${name} holds Python ${formatVersion(found.version)}; scoring hosts need 3.8 or later`,
  );
}

async function works(runner: Runner): Promise<boolean> {
  if (runner.kind === 'apptainer') return (await stat(runner.image).catch(ignoreMissing)) !== undefined;
  return (await askInterpreter(runner.python)) !== null;
}

async function listDir(dir: string): Promise<readonly string[]> {
  return (await readdir(dir).catch(ignoreMissing)) ?? [];
}

function ignoreMissing(error: unknown): undefined {
  if (errnoOf(error) !== 'ENOENT') throw toBatchError(error, 'STATE_UNWRITABLE');
  return undefined;
}
