/**
 * When a scorer that nobody has been able to start fails its job.
 * @source Azure ML batch: stop after 3 × concurrency failures of init() on a node, or, once the job has run for two
 * minutes, after 2 × all workers, as long as none has succeeded
 */
import { errorRule, type ErrorCode } from '../../common/core/error-codes.ts';
import type { NodeName } from '../../common/core/ids.ts';
import { limits } from '../../common/core/limits.ts';
import { isFinal } from '../../common/core/states.ts';
import type { Command } from './commands.ts';
import type { Event } from './events.ts';
import { isAtWork, type Job, type Ledger } from './ledger.ts';
import { quarantineEvents } from './sick-nodes.ts';

type HostFailedCommand = Extract<Command, { kind: 'host-failed' }>;

/** What no other try and no other node will mend: only its author can. */
const hopeless: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'MODEL_INVALID',
  'MODEL_UNSUPPORTED',
  'SCRIPT_INVALID',
  'ENVIRONMENT_INVALID',
  'ENVIRONMENT_BUILD_FAILED',
]);

export function hostFailed(ledger: Ledger, command: HostFailedCommand): readonly Event[] {
  const { failure, wallMs, node } = command;
  const job = ledger.jobs.get(command.job);
  if (!job || isFinal(job.state)) return [];
  const events: Event[] = [{ kind: 'HostFailed', job: job.name, node, failure }];
  if (isSickHere(ledger, job, node)) {
    const message = `the scorer did not start on worker node ${node} ${limits.sickNodeInitFailures} times, elsewhere it runs: ${failure.message}`;
    events.push(...quarantineEvents(ledger, job, node, { ...failure, message }, null));
  }
  if (!job.isInitialised && isOver(ledger, job, command)) {
    events.push({ kind: 'JobStateChanged', job: job.name, state: 'Failed', error: failure, wallMs });
  }
  return events;
}

/** As many failures as that, and nothing scored there since the first of them. Counters are those before this failure. */
function isSickHere(ledger: Ledger, job: Job, node: NodeName): boolean {
  const failures = (job.initFailuresOf.get(node) ?? 0) + 1;
  if (!job.isInitialised || failures < limits.sickNodeInitFailures || job.sick.has(node)) return false;
  const isGood = (name: NodeName): boolean => name !== node && !job.initFailuresOf.has(name) && !job.sick.has(name);
  return [...ledger.nodes.values()].some((other) => isAtWork(other) && isGood(other.name));
}

/** Counters are those before this failure. */
function isOver(ledger: Ledger, job: Job, { node, failure, wallMs }: HostFailedCommand): boolean {
  if (hopeless.has(failure.code)) return true;
  const live = [...ledger.nodes.values()].filter(isAtWork);
  const hasFailed = (name: typeof node): boolean => name === node || (job.initFailuresOf.get(name) ?? 0) > 0;
  const haveAllFailed = live.every(({ name }) => hasFailed(name));
  // Another node may have the tool, and the operator of this one may never have wanted it to; a second try finds no more.
  if (failure.code === 'ENVIRONMENT_UNSUPPORTED' || failure.code === 'PYTHON_NOT_FOUND') return haveAllFailed;
  const slots = ledger.nodes.get(node)?.slots ?? 1;
  const isWornHere = (job.initFailuresOf.get(node) ?? 0) + 1 >= limits.initFailuresPerSlot * slots;
  const allSlots = live.reduce((sum, other) => sum + other.slots, 0);
  const hasRunMs = job.startedWallMs === null ? 0 : wallMs - job.startedWallMs;
  const isWornOut =
    hasRunMs > limits.initFailuresRunMsMin && job.initFailures + 1 >= limits.initFailuresPerSlotOfAll * allSlots;
  // Trouble of a node's own (no room, no Python) is the job's only when no node is free of it.
  const { category } = errorRule(failure.code);
  const isOfNode = category === 'operator' || category === 'transient';
  return (isWornHere || isWornOut) && (!isOfNode || haveAllFailed);
}
