/**
 * Reads what the store’s client says went wrong. It gives one text, whose first words are the kind of trouble; addresses in it may
 * carry a signature, so that no more of it than a code and a cleaned reason goes on from here.
 */
import { BatchError } from '../core/batch-error.ts';

/** What can be done about it. */
export type StoreTrouble =
  /** The object is not there. */
  | 'absent'
  /** The bucket or the container is not there. */
  | 'no-store'
  | 'denied'
  /** Not the content that was asked for. */
  | 'changed'
  /** May pass. */
  | 'passing'
  /** Fewer bytes than were asked for, or none at that place. */
  | 'short'
  | 'refused';

export interface StoreProblem {
  readonly trouble: StoreTrouble;
  /** For people; without addresses and secrets. */
  readonly reason: string;
}

const missingStores = new Set(['NoSuchBucket', 'ContainerNotFound', 'ContainerBeingDeleted']);
const wrongRegions = new Set([
  'PermanentRedirect',
  'AuthorizationHeaderMalformed',
  'IllegalLocationConstraintException',
]);

/** Null for what is no error of the client. */
export function storeProblem(error: unknown): StoreProblem | null {
  if (!(error instanceof Error)) return null;
  const text = error.message;
  const [, kind = '', lasting = ''] = /^(\w+) \((permanent|temporary|persistent)\) at/.exec(text) ?? [];
  if (kind === '') return null;
  const status = Number(/\bstatus: (\d{3})\b/.exec(text)?.[1] ?? 0);
  const code = /Error \{ code: "([^"]{1,80})"/.exec(text)?.[1] ?? '';
  return { trouble: troubleOf(kind, lasting, status, code, text), reason: reasonText(kind, status, code, text) };
}

function troubleOf(kind: string, lasting: string, status: number, code: string, text: string): StoreTrouble {
  if (missingStores.has(code)) return 'no-store';
  if (text.includes('LoadCredential')) return 'denied';
  if (kind === 'NotFound' || status === 404) return 'absent';
  if (kind === 'ConditionNotMatch' || status === 412) return 'changed';
  if (kind === 'PermissionDenied' || status === 401 || status === 403) return 'denied';
  if (kind === 'RangeNotSatisfied' || status === 416 || text.includes('too little data')) return 'short';
  if (kind === 'RateLimited' || status === 429 || status === 408 || status >= 500) return 'passing';
  if (status >= 300) return 'refused';
  return lasting === 'permanent' ? 'refused' : 'passing';
}

function reasonText(kind: string, status: number, code: string, text: string): string {
  if (text.includes('LoadCredential')) return 'no credentials could be had';
  const region = wrongRegions.has(code) ? '; the bucket is in another region, which AWS_REGION must name' : '';
  if (status > 0) return `it answered ${status}${code === '' ? '' : ` ${code}`}${region}`;
  const last = /(?:source: |=> )((?:(?!source: |=> ).)*)$/s.exec(text)?.[1] ?? kind;
  return last
    .replace(/\(https?:[^)]*\)/g, '')
    .replace(/\?\S*/g, '')
    .slice(0, 200)
    .trim();
}

/** `where` names the location, `lookedAt` where its credentials were looked for. The client’s own error goes no further. */
export function storeError(problem: StoreProblem, where: string, lookedAt: string): BatchError {
  const { trouble, reason } = problem;
  switch (trouble) {
    case 'absent':
    case 'no-store':
      return new BatchError('INPUT_NOT_FOUND', `${where} does not exist: ${reason}`);
    case 'denied':
    case 'refused':
      return new BatchError('STORE_DENIED', `${where} cannot be used: ${reason}; looked at ${lookedAt}`);
    case 'changed':
    case 'short':
      return new BatchError('INPUT_CHANGED', `${where} is not what it was when it was listed: ${reason}`);
    case 'passing':
      return new BatchError('STORE_UNREACHABLE', `${where} cannot be reached: ${reason}`);
  }
}
