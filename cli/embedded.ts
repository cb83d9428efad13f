/**
 * `run`: the coordinator and worker nodes of a cluster in this process, over real gRPC on a unix socket, with a real
 * journal in a temporary folder while the job runs. Scoring hosts are children, as everywhere.
 */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { commandEnvironment, environmentsDirSetting } from '../common/config/process-settings.ts';
import { BatchError } from '../common/core/batch-error.ts';
import { systemClock } from '../common/io/clock.ts';
import { reasonOf } from '../common/io/errno.ts';
import { createLog, type Log, type LogLevel } from '../common/io/log.ts';
import { systemRandom } from '../common/io/random.ts';
import { removeForeign } from '../common/io/remove-foreign.ts';
import type { JobView } from '../coordinator/api/backend.ts';
import { openCoordinator, type Coordinator } from '../coordinator/coordinator.ts';
import { findDevices } from '../worker/devices/find-devices.ts';
import { startWorker, type WorkerHandle } from '../worker/worker.ts';
import type { EmbeddedOptions } from './processes.ts';

/** Resolves with the job in its final state, also when that is Failed or Canceled. @throws what submitting throws; JOB_CANCELED before there is a job */
export async function runEmbedded(options: EmbeddedOptions): Promise<JobView> {
  // Everything of the run's own lies here; a unix socket's path must be short.
  const home = await mkdtemp(join(tmpdir(), 'batchmill-'));
  const stateDir = join(home, 'state');
  let kept: string | null = null;
  const closers: (() => Promise<unknown>)[] = [
    async () => (kept === null ? await removeHome(home) : options.onKept(kept)),
  ];
  try {
    const coordinator = await openCoordinator({
      stateDir,
      listen: `unix:${join(home, 'nodes.sock')}`,
      http: null,
      heartbeatMs: null,
      keepFinishedMs: null,
      log: warnings,
      clock: systemClock,
      random: systemRandom,
    });
    // Its failure, if any, has been told by what waited for it.
    closers.push(() => coordinator.close().catch(() => undefined));
    // What is scored is not thrown away because a store does not take it.
    closers.push(async () => (kept = keptText(coordinator, stateDir)));
    return await runJob(options, coordinator, home, closers);
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

/** Null when nothing but the run's own files is left. */
function keptText({ jobs }: Coordinator, stateDir: string): string | null {
  const [job] = jobs.list();
  const dir = job ? jobs.unpublishedDir(job.name) : null;
  if (!job || dir === null) return null;
  return (
    `the rows of job ${job.name} are not in ${job.output_path}; they are kept in ${dir}. To send them once the store takes them: ` +
    `batchmill coordinator start --insecure --state-dir ${stateDir}  and beside it  batchmill job resume ${job.name}`
  );
}

/** Of what happens inside, a person at a terminal is told only what is wrong; the job's events have the rest. */
const warnings: Log = terminalLog('error');

function terminalLog(level: LogLevel): Log {
  return createLog({ write: (line) => void process.stderr.write(line), format: 'text', level, clock: systemClock });
}

/** What user code has left there may be in the way; the job has ended as it has. */
async function removeHome(home: string): Promise<void> {
  try {
    await removeForeign(home);
  } catch (error) {
    terminalLog('warn').warn('the temporary folder of this run cannot be removed', {
      path: home,
      reason: reasonOf(error),
    });
  }
}

async function runJob(
  options: EmbeddedOptions,
  coordinator: Coordinator,
  home: string,
  closers: (() => Promise<unknown>)[],
): Promise<JobView> {
  const { deployment, inputPath, selection, outputDir, isOverwrite, since, signal } = options;
  const joining = startNodes(options, coordinator, home);
  closers.push(() => joining.then((nodes) => Promise.all(nodes.map((node) => node.close()))).catch(() => undefined));
  const isOver = Promise.race([failWhenClosed(coordinator), failWhen(joining)]);
  const submitted = coordinator.jobs.submit({
    deployment,
    inputPath,
    selection,
    outputDir,
    isOverwrite,
    since,
    name: null,
  });
  const { name } = await Promise.race([submitted, isOver, failWhenCanceled(signal)]);
  const cancel = (): void => void coordinator.jobs.cancel(name, 0).catch(() => undefined);
  if (signal.aborted) cancel();
  signal.addEventListener('abort', cancel, { once: true });
  try {
    await Promise.race([followToEnd(coordinator, name, options), isOver]);
    const view = coordinator.jobs.show(name);
    if (view.status === 'Failed') options.onErrors(await coordinator.jobs.errors(name, { offset: 0, limit: 1 }));
    // A node that leaves sends what is left of its logs first.
    await Promise.all((await joining).map((node) => node.close()));
    return view;
  } finally {
    signal.removeEventListener('abort', cancel);
  }
}

async function startNodes(
  options: EmbeddedOptions,
  coordinator: Coordinator,
  home: string,
): Promise<readonly WorkerHandle[]> {
  const { nodes, slots, python } = options;
  const environment = commandEnvironment();
  // Asking takes time, which few jobs have a use for.
  const asksForGpu = options.deployment.settings.gpu !== null && options.deployment.settings.gpu !== undefined;
  const known = asksForGpu ? { devices: await findDevices(environment) } : {};
  const names = Array.from({ length: nodes }, (_, index) => `node-${index + 1}`);
  return await Promise.all(
    names.map((name) =>
      startWorker({
        ...known,
        address: coordinator.listen,
        token: coordinator.joinToken,
        name,
        slots,
        python,
        scratchDir: join(home, name),
        environmentsDir: environmentsDirSetting(),
        environment,
        log: warnings,
        clock: systemClock,
        random: systemRandom,
      }),
    ),
  );
}

async function followToEnd(coordinator: Coordinator, name: string, options: EmbeddedOptions): Promise<void> {
  for await (const event of coordinator.jobs.events(name, 0, new AbortController().signal)) options.onEvent(event);
}

/** The coordinator ends by itself only when it cannot go on. */
async function failWhenClosed(coordinator: Coordinator): Promise<never> {
  await coordinator.closed;
  throw new BatchError('INTERNAL', 'the coordinator ended before the job');
}

/** Rejects once the signal is aborted, however long a store that is listed says nothing; never resolves. */
function failWhenCanceled(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const canceled = (): void =>
      reject(new BatchError('JOB_CANCELED', 'canceled before there was a job: nothing is scored'));
    if (signal.aborted) canceled();
    else signal.addEventListener('abort', canceled, { once: true });
  });
}

/** Rejects when a node cannot start; never resolves otherwise. */
function failWhen(joining: Promise<unknown>): Promise<never> {
  return new Promise((_, reject) => void joining.catch(reject));
}
