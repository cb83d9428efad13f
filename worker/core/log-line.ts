/** What a person is told of an event. A change of link or job is `info`, a mini-batch `debug`; most say nothing. */
import type { Failure } from '../../common/core/batch-error.ts';
import { formatToken } from '../../common/core/token.ts';
import type { EventOf, WorkerEvent } from './events.ts';

export interface LogLine {
  readonly level: 'debug' | 'info' | 'warn' | 'error';
  readonly message: string;
  readonly fields: Readonly<Record<string, string | number | boolean | null>>;
}

type Lines = { readonly [K in WorkerEvent['kind']]?: (event: EventOf<K>) => LogLine };

/** Null for an event that is not worth a line. */
export function logLine(event: WorkerEvent): LogLine | null {
  const describe = lines[event.kind] as ((event: WorkerEvent) => LogLine) | undefined;
  return describe?.(event) ?? null;
}

const lines: Lines = {
  LinkOpened: ({ reply: { epoch, release, protocol } }) =>
    line('info', 'joined the coordinator', { epoch, release, protocol }),
  LinkLost: ({ attempt, failure }) =>
    // One line when it changes, not one for every try.
    line(attempt <= 1 ? 'warn' : 'debug', 'not connected to the coordinator; trying again until it answers', {
      code: failure.code,
      reason: failure.message,
    }),
  HandoverAnnounced: ({ withinMs }) =>
    line('info', 'another coordinator is about to lead; taking work for the time until then', { withinMs }),
  GaveUp: ({ failure }) => line('error', failure.message, { code: failure.code }),
  Left: () => line('info', 'left the coordinator'),
  LeavingBegan: ({ how }) => line('info', how === 'drain' ? 'finishing what is running, then leaving' : 'leaving'),
  KillSet: () => line('info', 'what still runs when the time is up will be killed and given back'),
  JobAnnounced: ({ spec }) => line('debug', 'a job was announced', { job: spec.name, deployment: spec.deployment }),
  JobEnded: ({ job }) => line('info', 'a job has ended here', { job }),
  ArtifactsWanted: ({ spec }) => line('info', 'fetching model and code of a job', { job: spec.name }),
  ArtifactsPutOff: ({ job, failure }) => line('warn', 'model or code cannot be had', { job, ...said(failure) }),
  HostStarted: ({ spec, slot }) => line('info', 'starting a scoring host', { job: spec.name, slot: slot + 1 }),
  HostFailed: ({ job, failure }) => line('warn', 'a scoring host could not be started', { job, ...said(failure) }),
  StagingPutOff: ({ failure }) => line('warn', 'inputs cannot be had now', said(failure)),
  UploadPutOff: ({ failure }) => line('warn', 'a result cannot be uploaded now', said(failure)),
  AttemptFailed: ({ failure }) => line('debug', 'a mini-batch failed', said(failure)),
  Forgotten: ({ token, reason }) =>
    line('debug', 'a mini-batch is off the books', { token: formatToken(token), why: reason }),
};

function said(failure: Failure): LogLine['fields'] {
  return { code: failure.code, reason: failure.message };
}

function line(level: LogLine['level'], message: string, fields: LogLine['fields'] = {}): LogLine {
  return { level, message, fields };
}
