/**
 * The coordinators that a person talks to, by names of their own: where each is, which authority its certificate comes from, and the
 * token to show there. They stand in `batchmill/contexts.yml` of the user's configuration, which nobody else may read.
 */
import { chmod, open, readFile, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { stringify } from 'yaml';
import * as z from 'zod';
import { BatchError } from '../core/batch-error.ts';
import { errnoOf, outsideError, reasonOf } from '../io/errno.ts';
import { makeFolder } from '../io/make-folder.ts';
import { formatAddress, parseAddresses, type Address } from './address.ts';
import { ConfigSource } from './config-source.ts';
import { nearestWord } from './nearest-word.ts';
import type { Environment } from './process-settings.ts';
import { problemsOf } from './schema-problems.ts';

/** One coordinator. */
export interface Context {
  readonly server: Address;
  /** Of other coordinators of the same cluster, which take over from that one. */
  readonly others?: readonly Address[];
  /** Certificate of the authority that signs the server's, PEM; null: those that the system trusts, or none is needed. */
  readonly ca: string | null;
  /** `sha256:` and 64 hex digits over the authority's DER; null where there is no `ca`. */
  readonly caFingerprint: string | null;
  /** Bearer token; null: none is shown. */
  readonly token: string | null;
  /** Plain HTTP. */
  readonly isInsecure: boolean;
}

export interface Contexts {
  /** Name of the one that is used when nothing is said; null: none is. */
  readonly current: string | null;
  readonly byName: ReadonlyMap<string, Context>;
}

const fingerprintForm = /^sha256:[0-9a-f]{64}$/;
const nameForm = /^[a-z0-9][a-z0-9._-]{0,62}$/i;

const schema = z.strictObject({
  current: z.string().nullish(),
  contexts: z
    .record(
      z.string().regex(nameForm),
      z.strictObject({
        server: z.string('HOST:PORT, several with commas between'),
        ca: z.string('a certificate in PEM').nullish(),
        ca_fingerprint: z.string().regex(fingerprintForm).nullish(),
        token: z.string('a token').min(1).nullish(),
        insecure: z.boolean('true or false').nullish(),
      }),
    )
    .nullish(),
});

/** Where they stand. */
export function contextsFile(environment: Environment = process.env): string {
  const home = environment['XDG_CONFIG_HOME'] || join(environment['HOME'] || homedir(), '.config');
  return join(home, 'batchmill', 'contexts.yml');
}

/** None when there is no file. @throws CONFIG_INVALID, CONFIG_UNKNOWN_KEY, USAGE for an address that is none */
export async function readContexts(environment: Environment = process.env): Promise<Contexts> {
  const file = contextsFile(environment);
  const text = await textOf(file);
  if (text === null) return { current: null, byName: new Map() };
  const source = new ConfigSource(text, file);
  const value = source.toJs();
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw source.toError(problemsOf(parsed.error, value, schema));
  const byName = new Map<string, Context>();
  for (const [name, { server, ca, ca_fingerprint: print, token, insecure }] of Object.entries(
    parsed.data.contexts ?? {},
  )) {
    byName.set(name, {
      ...placesOf(server, source.locate(['contexts', name, 'server'], 'value')),
      ca: ca ?? null,
      caFingerprint: print ?? null,
      token: token ?? null,
      isInsecure: insecure ?? false,
    });
  }
  const { current = null } = parsed.data;
  return { current: current !== null && byName.has(current) ? current : null, byName };
}

/**
 * Replaces the file in one step, mode 0600, in a folder of mode 0700 where it makes one.
 * @throws STATE_UNWRITABLE, DISK_FULL
 */
export async function writeContexts(contexts: Contexts, environment: Environment = process.env): Promise<void> {
  const file = contextsFile(environment);
  const partial = `${file}.${process.pid}.partial`;
  try {
    await makeFolder(dirname(file), 0o700);
    await rm(partial, { force: true });
    const handle = await open(partial, 'wx', 0o600);
    try {
      await handle.writeFile(stringify(wireOf(contexts)));
      await handle.sync();
    } finally {
      await handle.close();
    }
    // The mask of the process may have taken more away than others' rights.
    await chmod(partial, 0o600);
    await rename(partial, file);
  } catch (error) {
    throw outsideError(error, `${file} cannot be written`) ?? error;
  } finally {
    await rm(partial, { force: true });
  }
}

/** Reads, changes and writes. @throws what those throw */
export async function changeContexts(
  change: (contexts: Contexts) => Contexts,
  environment: Environment = process.env,
): Promise<Contexts> {
  const changed = change(await readContexts(environment));
  await writeContexts(changed, environment);
  return changed;
}

/** With `context` under `name`; it is the current one when it is the first, or `isCurrent`. @throws USAGE for a name that is none */
export function withContext(contexts: Contexts, name: string, context: Context, isCurrent = false): Contexts {
  if (!nameForm.test(name)) {
    throw new BatchError(
      'USAGE',
      `the name of a context has letters, digits, ".", "_" and "-", at most 63; found ${JSON.stringify(name)}`,
    );
  }
  const byName = new Map(contexts.byName).set(name, context);
  return { current: isCurrent || contexts.current === null ? name : contexts.current, byName };
}

/** Without it; what was current is then nobody. @throws CONTEXT_NOT_FOUND */
export function withoutContext(contexts: Contexts, name: string): Contexts {
  contextNamed(contexts, name);
  const byName = new Map(contexts.byName);
  byName.delete(name);
  return { current: contexts.current === name ? null : contexts.current, byName };
}

/** @throws CONTEXT_NOT_FOUND */
export function contextNamed({ byName }: Contexts, name: string): Context {
  const found = byName.get(name);
  if (found) return found;
  const near = nearestWord(name, [...byName.keys()]);
  const known = byName.size === 0 ? 'there is none yet' : `there are ${[...byName.keys()].toSorted().join(', ')}`;
  throw new BatchError(
    'CONTEXT_NOT_FOUND',
    `no context is called ${name}; ${near === null ? known : `did you mean ${near}?`}`,
  );
}

export interface ConnectionFlags {
  readonly server?: string | undefined;
  readonly context?: string | undefined;
}

/**
 * How to reach the coordinator: `--server`, `--context`, BATCHMILL_SERVER, BATCHMILL_CONTEXT, the current context, then loopback. An
 * address that is also a context's is reached as that one says.
 * @throws USAGE, CONTEXT_NOT_FOUND, and what reading throws
 */
export async function connectionSetting(
  flags: ConnectionFlags,
  environment: Environment = process.env,
): Promise<Context> {
  const contexts = await readContexts(environment);
  if (flags.server !== undefined) return atAddress(contexts, flags.server, '--server');
  if (flags.context !== undefined) return contextNamed(contexts, flags.context);
  const { BATCHMILL_SERVER: server, BATCHMILL_CONTEXT: context } = environment;
  if (server) return atAddress(contexts, server, 'BATCHMILL_SERVER');
  if (context) return contextNamed(contexts, context);
  const current = contexts.current === null ? undefined : contexts.byName.get(contexts.current);
  return current ?? atAddress(contexts, '127.0.0.1:7078', '--server');
}

/** `host:7078`, `http://host:7078` or `https://host:7078`, several addresses with commas between. */
function atAddress(contexts: Contexts, text: string, what: string): Context {
  const [, scheme = '', rest = ''] = /^(?:(https?):\/\/)?(.*?)\/?$/i.exec(text.trim()) ?? [];
  const place = placesOf(rest, what);
  const isInsecure = scheme.toLowerCase() !== 'https';
  const [at, said] = [formatAddress(place.server), allPlaces(place)];
  const own = contexts.current === null ? [] : [contextNamed(contexts, contexts.current)];
  const known = [...own, ...contexts.byName.values()].find(
    (one) => allPlaces(one).some((its) => said.includes(its)) && (scheme === '' || one.isInsecure === isInsecure),
  );
  if (known && !place.others && formatAddress(known.server) === at) return known;
  // What was said is where it is looked for; the context says who asks.
  const { ca, caFingerprint, token } = known ?? { ca: null, caFingerprint: null, token: null };
  return { ...place, ca, caFingerprint, token, isInsecure: known?.isInsecure ?? isInsecure };
}

/** All addresses of a context's coordinators, as they are written. */
export function allPlaces({ server, others = [] }: Pick<Context, 'server' | 'others'>): readonly string[] {
  return [server, ...others].map(formatAddress);
}

/** `a:7078,b:7078` @throws USAGE */
export function placesOf(text: string, what: string): Pick<Context, 'server' | 'others'> {
  const [server, ...others] = parseAddresses(text, what);
  return others.length === 0 ? { server } : { server, others };
}

function wireOf({ current, byName }: Contexts): unknown {
  const contexts = [...byName].map(([name, one]) => [
    name,
    {
      server: allPlaces(one).join(','),
      ...(one.ca === null ? {} : { ca: one.ca }),
      ...(one.caFingerprint === null ? {} : { ca_fingerprint: one.caFingerprint }),
      ...(one.token === null ? {} : { token: one.token }),
      insecure: one.isInsecure,
    },
  ]);
  return { ...(current === null ? {} : { current }), contexts: Object.fromEntries(contexts) as unknown };
}

async function textOf(file: string): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return null;
    if (errnoOf(error) === '') throw error;
    throw new BatchError('CONFIG_INVALID', `${file} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}
