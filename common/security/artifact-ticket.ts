/**
 * Lets one worker node have one artifact from another. The node that serves draws a key for each of its processes and tells
 * it to the coordinator alone, which gives a ticket to whom it sends there: no node gets what it was not sent for, and one
 * that was revoked is sent nowhere.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';

/** Hexadecimal. `node`: who may have it. */
export function artifactTicket(key: Uint8Array, digest: string, node: string): string {
  return createHmac('sha256', key).update(`${digest}\n${node}`).digest('hex');
}

export function isTicket(ticket: string, key: Uint8Array, digest: string, node: string): boolean {
  const [given, wanted] = [Buffer.from(ticket), Buffer.from(artifactTicket(key, digest, node))];
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}
