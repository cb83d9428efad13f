/** `coordinator start` and `worker join`: processes that run until they are told to stop. */
import { formatAddress } from '../../common/config/address.ts';
import { joinLine } from '../../coordinator/access/join-line.ts';
import { isOpen, keepLocalContext } from '../local-context.ts';
import {
  coordinatorSettings,
  workerSettings,
  type CoordinatorFlags,
  type CoordinatorSettings,
  type WorkerFlags,
} from '../../common/config/process-settings.ts';
import { interruptible, type CommandContext } from '../command-context.ts';
import type { CoordinatorProcess } from '../processes.ts';
import type { Column } from '../table.ts';

/** What a script needs to go on: where the coordinator listens, and the line that worker nodes join with. */
interface CoordinatorAnswer {
  readonly listen: string;
  readonly http: string;
  readonly join: string;
}

const coordinatorSheet: readonly Column<CoordinatorAnswer>[] = [
  { title: 'worker nodes', value: (one) => one.listen },
  { title: 'http', value: (one) => one.http },
  { title: 'join with', value: (one) => one.join },
];

/** Answers once it listens; ends at an interrupt. @returns the exit code */
export async function startCoordinatorCommand(context: CommandContext, flags: CoordinatorFlags): Promise<number> {
  const { host } = context;
  const settings = coordinatorSettings(flags, host.environment);
  if (settings.isStandby) return await (await import('./standby.ts')).standByCommand(context, settings);
  return await serve(context, settings, await host.processes.startCoordinator(settings, null));
}

/** Says where it is, and resolves at its end. */
export async function serve(
  context: CommandContext,
  settings: CoordinatorSettings,
  coordinator: CoordinatorProcess,
): Promise<number> {
  const { host, output } = context;
  const { access, http } = coordinator;
  // Before the answer: whoever reads it may go on with clients at once.
  const said = access && (await keepLocalContext(http, access, host.environment, settings.isStandby));
  output.item(answerOf(coordinator), coordinatorSheet);
  if (said) output.note(said);
  if (settings.isInsecure && [settings.listen, settings.http].some(isOpen)) output.note(openWarning);
  output.note(`state in ${settings.stateDir}; Ctrl-C stops the coordinator, and a restart goes on with its jobs`);
  return await untilStopped(context, coordinator.closed, async () => await coordinator.close(), 'stopping');
}

/** Says when it has joined; an interrupt drains it, a second one has it leave at once, in order all the same. @returns the exit code */
export async function joinWorkerCommand(
  context: CommandContext,
  coordinator: string,
  flags: WorkerFlags,
): Promise<number> {
  const { host, output } = context;
  const settings = workerSettings(coordinator, flags, host.environment);
  const worker = await host.processes.startWorker(settings);
  const where = settings.coordinators.map(formatAddress).join(', ');
  output.note(`${worker.name} joined ${where} with ${worker.slots} slots; Ctrl-C leaves`);
  const farewell = 'leaving once what is running is scored; once more to stop at once';
  // Whoever is told twice, by a service manager and by hand, still gives back what it holds: nothing waits for a lost lease.
  const hurry = (): void => {
    output.note('giving back what is running; once more to end without a word to the coordinator');
    // What comes of it is told by `closed`.
    worker.close().catch(() => undefined);
  };
  return await untilStopped(context, worker.closed, async () => await worker.drain(), farewell, hurry);
}

const openWarning =
  'warning: --insecure on an address that a network reaches: everybody there may read and change everything, ' +
  'and run programs on the worker nodes';

function answerOf({ listen, http, joinToken, access }: CoordinatorProcess): CoordinatorAnswer {
  const join = joinLine(listen, joinToken, access?.fingerprint ?? null);
  return { listen: formatAddress(listen), http: formatAddress(http), join };
}

/** Waits for the end, or for an interrupt and then for what `stop` brings to an end. */
async function untilStopped(
  { host, output }: CommandContext,
  closed: Promise<void>,
  stop: () => Promise<void>,
  farewell: string,
  hurry?: () => void,
): Promise<number> {
  const interrupt = interruptible(host, () => output.note(farewell), hurry);
  const stopped = new Promise<void>((resolve) => {
    interrupt.signal.addEventListener('abort', () => resolve(), { once: true });
  });
  try {
    await Promise.race([closed, stopped]);
    if (interrupt.signal.aborted) await stop();
    await closed;
    // Told once more while the process ends, it would otherwise die of the signal, and look as if it had failed.
    host.onInterrupt(() => host.exit(0));
    return 0;
  } finally {
    interrupt.dispose();
  }
}
