/** A fetch that knows the cluster's authority: that of this process knows none but the system's. Loaded when it is needed. */
import { Agent, fetch as ask } from 'undici';
import { coordinatorName } from '../common/security/server-identity.ts';

/** `ca`: PEM; null: the system's. */
export function makeSecureFetch(ca: string | null): typeof fetch {
  const dispatcher = new Agent({ connect: ca === null ? {} : { ca, servername: coordinatorName } });
  return ((url: string, init: object) => ask(url, { ...init, dispatcher })) as unknown as typeof fetch;
}
