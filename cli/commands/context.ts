/** `context add`, `use`, `list`, `show`, `remove`. Tokens are never shown. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Address } from '../../common/config/address.ts';
import {
  allPlaces,
  changeContexts,
  contextNamed,
  contextsFile,
  placesOf,
  readContexts,
  withContext,
  withoutContext,
  type Context,
} from '../../common/config/contexts.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { fetchAuthority } from '../../common/security/fetch-authority.ts';
import { fingerprintOfPem, parseFingerprint } from '../../common/security/fingerprint.ts';
import type { CommandContext } from '../command-context.ts';
import type { Column } from '../table.ts';

export interface ContextAddFlags {
  readonly server: string;
  readonly caFile?: string;
  readonly caFingerprint?: string;
  readonly token?: string;
  readonly insecure?: boolean;
  readonly use?: boolean;
}

/** What may be shown of a context. */
interface ContextView {
  readonly name: string;
  readonly current: boolean;
  readonly server: string;
  readonly insecure: boolean;
  readonly ca_fingerprint: string | null;
  readonly has_token: boolean;
}

const columns: readonly Column<ContextView>[] = [
  { title: 'name', value: (one) => one.name },
  { title: 'current', value: (one) => (one.current ? '*' : null) },
  { title: 'server', value: (one) => `${one.insecure ? 'http' : 'https'}://${one.server}` },
  { title: 'token', value: (one) => (one.has_token ? 'yes' : null) },
  { title: 'authority', value: (one) => one.ca_fingerprint },
];

function viewOf(name: string, context: Context, current: string | null): ContextView {
  return {
    name,
    current: name === current,
    server: allPlaces(context).join(','),
    insecure: context.isInsecure,
    ca_fingerprint: context.caFingerprint,
    has_token: context.token !== null,
  };
}

export async function addContextCommand(
  { host, output }: CommandContext,
  name: string,
  flags: ContextAddFlags,
): Promise<number> {
  const place = placesOf(flags.server.replace(/^https?:\/\//i, '').replace(/\/$/, ''), '--server');
  const token = flags.token === '-' ? (await host.stdin.all()).trim() : (flags.token ?? null);
  if (token === '') throw new BatchError('USAGE', '--token: wanted a token, found nothing');
  const authority = await authorityOf(flags, place.server, host.cwd);
  const context: Context = {
    ...place,
    ca: authority?.pem ?? null,
    caFingerprint: authority?.fingerprint ?? null,
    token,
    isInsecure: flags.insecure ?? /^http:/i.test(flags.server),
  };
  const changed = await changeContexts((all) => withContext(all, name, context, flags.use ?? false), host.environment);
  output.item(viewOf(name, context, changed.current), columns);
  if (authority === null && !context.isInsecure) {
    output.note(
      'note: its certificate must be of an authority that this system trusts; else say --ca-fingerprint or --ca-file',
    );
  }
  output.note(`kept in ${contextsFile(host.environment)}`);
  if (changed.current !== name) output.note(`next        batchmill context use ${name}`);
  return 0;
}

export async function useContextCommand({ host, output }: CommandContext, name: string): Promise<number> {
  const { byName } = await changeContexts((all) => {
    contextNamed(all, name);
    return { ...all, current: name };
  }, host.environment);
  output.item(viewOf(name, contextNamed({ current: name, byName }, name), name), columns);
  return 0;
}

export async function listContextsCommand({ host, output }: CommandContext): Promise<number> {
  const { current, byName } = await readContexts(host.environment);
  if (byName.size === 0) output.note('no contexts yet; add one with: batchmill context add NAME --server HOST:PORT');
  output.list(
    [...byName].map(([name, context]) => viewOf(name, context, current)),
    columns,
  );
  return 0;
}

export async function showContextCommand({ host, output }: CommandContext, name: string | null): Promise<number> {
  const contexts = await readContexts(host.environment);
  const shown = name ?? contexts.current;
  if (shown === null)
    throw new BatchError('CONTEXT_NOT_FOUND', 'no context is in use; `batchmill context use NAME` chooses one');
  output.item(viewOf(shown, contextNamed(contexts, shown), contexts.current), columns);
  return 0;
}

export async function removeContextCommand({ host, output }: CommandContext, name: string): Promise<number> {
  const { current } = await changeContexts((all) => withoutContext(all, name), host.environment);
  output.note(`${name} is forgotten${current === null ? '; no context is in use now' : ''}`);
  return 0;
}

interface Authority {
  readonly pem: string;
  readonly fingerprint: string;
}

/**
 * That of a file, or of the server when its fingerprint was told; null: those that the system trusts.
 * @throws CONFIG_INVALID, USAGE for a file with another fingerprint, SERVER_UNTRUSTED, COORDINATOR_UNREACHABLE
 */
async function authorityOf(
  { caFile, caFingerprint }: ContextAddFlags,
  server: Address,
  cwd: string,
): Promise<Authority | null> {
  const wanted = caFingerprint === undefined ? null : parseFingerprint(caFingerprint, '--ca-fingerprint');
  if (caFile === undefined) {
    return wanted === null ? null : { pem: await fetchAuthority(server, wanted, 'http/1.1'), fingerprint: wanted };
  }
  const authority = await authorityIn(resolve(cwd, caFile));
  if (wanted === null || authority.fingerprint === wanted) return authority;
  const message = `the certificate in ${caFile} has the fingerprint ${authority.fingerprint}, not ${wanted}`;
  throw new BatchError('USAGE', message);
}

/** @throws CONFIG_INVALID */
async function authorityIn(file: string): Promise<Authority> {
  try {
    const pem = await readFile(file, 'utf8');
    return { pem, fingerprint: fingerprintOfPem(pem) };
  } catch (error) {
    const what =
      errnoOf(error).startsWith('ERR_') || errnoOf(error) === '' ? 'is no certificate in PEM' : 'cannot be read';
    throw new BatchError('CONFIG_INVALID', `--ca-file: ${file} ${what}: ${reasonOf(error)}`, { cause: error });
  }
}
