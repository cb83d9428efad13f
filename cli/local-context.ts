/**
 * What makes `batchmill job list` work in a second terminal: whoever starts a coordinator for the first time gets a token
 * of its own, in the contexts file of the user.
 */
import { hostname, userInfo } from 'node:os';
import { formatAddress, isLoopback, type Address } from '../common/config/address.ts';
import {
  allPlaces,
  contextsFile,
  readContexts,
  withContext,
  writeContexts,
  type Context,
  type Contexts,
} from '../common/config/contexts.ts';
import type { Environment } from '../common/config/process-settings.ts';
import { toBatchError } from '../common/core/batch-error.ts';
import type { CoordinatorAccess } from './processes.ts';

/** `isStandby`: one of several, whose places are all kept. What was done, in a line for people; null: nothing was to do. */
export async function keepLocalContext(
  http: Address,
  access: CoordinatorAccess,
  environment: Environment,
  isStandby: boolean,
): Promise<string | null> {
  const server = clientAddress(http);
  try {
    const contexts = await readContexts(environment);
    const own = [...contexts.byName].find(([, one]) => one.caFingerprint === access.fingerprint);
    if (own && allPlaces(own[1]).includes(formatAddress(server))) return null;
    if (own) {
      const [name, context] = own;
      const { server: before, others = [] } = context;
      const moved = { ...context, server, ...(isStandby ? { others: [before, ...others] } : {}) };
      await writeContexts(withContext(contexts, name, moved), environment);
      return `context ${name} is now at ${allPlaces(moved).join(' and ')}`;
    }
    const token = await access.makeAdminToken(userName());
    const made: Context = { server, ca: access.authority, caFingerprint: access.fingerprint, token, isInsecure: false };
    const name = freeName(contexts, server);
    await writeContexts(withContext(contexts, name, made, true), environment);
    return `an admin token is in ${contextsFile(environment)}, context ${name}: \`batchmill job list\` works here now`;
  } catch (error) {
    // The coordinator serves all the same; who has no token asks one who has.
    const { message } = toBatchError(error);
    return `no token was written for this user: ${message}. HOME or XDG_CONFIG_HOME say where contexts are kept`;
  }
}

/** `local`, also when what was there before is gone; another coordinator's keeps its name. */
function freeName({ byName }: Contexts, server: Address): string {
  const taken = byName.get('local');
  if (!taken || formatAddress(taken.server) === formatAddress(server)) return 'local';
  return `local-${server.port}`;
}

/** Where this machine reaches it. */
function clientAddress({ host, port }: Address): Address {
  if (host === '0.0.0.0') return { host: '127.0.0.1', port };
  if (host === '::') return { host: '::1', port };
  return { host, port };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A process of a number that no name belongs to, as in containers.
    return `user-of-${hostname()}`;
  }
}

/** Whether others than this machine can reach an address. */
export function isOpen({ host }: Address): boolean {
  return !isLoopback(host);
}
