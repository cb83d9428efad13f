/** Events of jobs and worker nodes for programs elsewhere: what each is called, and what it says. Who hears them is not known here. */
import type { JobEvent } from '../api/backend.ts';
import type { Event } from '../core/events.ts';

/** Grows when a field changes its meaning or goes; readers pass over fields that they do not know. */
export const outerEventVersion = 1;

export interface OuterEvent {
  /** Behind `batchmill.NAME.`: `jobs.JOB.KIND` or `nodes.NODE.KIND`. */
  readonly subject: string;
  readonly body: Readonly<Record<string, unknown>>;
}

/** A line of `job stream`, as its followers get it, without `job` in full. */
export function jobEvent({ sequence, time, kind, message, job }: JobEvent): OuterEvent {
  return {
    subject: `jobs.${token(job.name)}.${kind}`,
    body: {
      ...{ version: outerEventVersion, time, job: job.name, kind, sequence, message },
      ...{ status: job.status, rows: job.rows, files: job.files, mini_batches: job.mini_batches },
    },
  };
}

/** Null: it is nothing that is told. `time`: ISO 8601. */
export function nodeEvent(event: Event, time: string): OuterEvent | null {
  const told = nodeWords(event);
  if (told === null) return null;
  const { kind, node, job = null, reason = null } = told;
  return {
    subject: `nodes.${token(node)}.${kind}`,
    body: { version: outerEventVersion, time, node, kind, job, reason },
  };
}

type NodeKind = 'joined' | 'suspect' | 'lost' | 'draining' | 'gone' | 'quarantined' | 'released';

interface NodeWords {
  readonly kind: NodeKind;
  readonly node: string;
  readonly job?: string;
  /** Of a quarantine. */
  readonly reason?: { readonly code: string; readonly message: string };
}

function nodeWords(event: Event): NodeWords | null {
  switch (event.kind) {
    case 'NodeJoined':
      return { kind: 'joined', node: event.node };
    case 'NodeSuspected':
      return { kind: 'suspect', node: event.node };
    case 'NodeLost':
      return { kind: 'lost', node: event.node };
    case 'NodeDraining':
      return { kind: 'draining', node: event.node };
    case 'NodeGone':
      return { kind: 'gone', node: event.node };
    case 'NodeQuarantined':
      return {
        kind: 'quarantined',
        node: event.node,
        job: event.job,
        reason: { code: event.reason.code, message: event.reason.message },
      };
    case 'NodeReleased':
      return { kind: 'released', node: event.node, job: event.job };
    default:
      return null;
  }
}

/** A name as one part of a subject, in which a dot begins the next one. */
function token(name: string): string {
  return name.replaceAll('.', '%2E');
}
