/**
 * Which protocol a coordinator and a worker node speak with each other. Each speaks a range of numbers, that of its release and the one
 * before; their session has the highest that both speak. The wire is changed by addition only, so that a number says no more than what
 * the other side is known to understand.
 */
import { limits } from './limits.ts';

export interface ProtocolRange {
  readonly oldest: number;
  /** Not below `oldest`. */
  readonly newest: number;
}

/** Of this release. */
export const spokenHere: ProtocolRange = { oldest: limits.protocolVersionOldest, newest: limits.protocolVersion };

/** The first number whose sessions have it. A coordinator says nothing to a worker node that its session does not have. */
export const protocolHas: Readonly<Record<'handover', number>> = {
  /** `handover_ms` of CoordinatorMessage. */
  handover: 2,
};

/** The number of a session; null: there is none that both speak. */
export function agreedProtocol(one: ProtocolRange, other: ProtocolRange): number | null {
  const highest = Math.min(one.newest, other.newest);
  return highest >= Math.max(one.oldest, other.oldest) ? highest : null;
}

/** For people: `2`, or `1 to 2`. */
export function protocolText({ oldest, newest }: ProtocolRange): string {
  return oldest === newest ? String(oldest) : `${oldest} to ${newest}`;
}
