/** What the commands about registered things share: files with flags laid over them, questions before something goes. */
import { join, resolve } from 'node:path';
import { readConfig, type ConfigFile } from '../../common/config/config-file.ts';
import { kindText, type ConfigKind } from '../../common/config/config-kind.ts';
import { ConfigSource } from '../../common/config/config-source.ts';
import { applySet, openConfig, type LoadOptions, type OpenedFile } from '../../common/config/deployment-file.ts';
import { kindAt } from '../../common/config/deployment-paths.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import type { LocalDeployment } from '../../common/core/deployment.ts';
import { openUploads, type Uploads } from '../api/uploads.ts';
import type { Transport } from '../api/transport.ts';
import { wordsOfValue } from '../arguments.ts';
import type { CommandContext } from '../command-context.ts';
import type { Edits } from '../edit.ts';
import type { ChangeFlags, DeleteFlags, FileFlags, PathFlags } from '../program-parts.ts';

/** A value that a flag lays over the file; `flag` names it in messages. */
export interface Override {
  readonly key: readonly string[];
  readonly value: string | undefined;
  readonly flag: string;
}

/** The file, or nothing, with `--set` and then the flags over it. @throws DEPLOYMENT_NOT_FOUND, CONFIG_INVALID */
export async function openThing(
  { host }: CommandContext,
  flags: FileFlags,
  kind: ConfigKind,
  overrides: readonly Override[],
): Promise<OpenedFile> {
  const { file, set = [] } = flags;
  const opened = await openFile(file, kind, host.cwd, async () => await host.stdin.all());
  for (const text of set) applySet(opened.source, text);
  for (const { key, value, flag } of overrides) {
    if (value !== undefined) opened.source.override(key, JSON.stringify(value), flag);
  }
  return opened;
}

async function openFile(
  file: string | undefined,
  kind: ConfigKind,
  cwd: string,
  stdin: () => Promise<string>,
): Promise<OpenedFile> {
  if (file === undefined || file === '-') {
    const label = file === undefined ? 'the flags' : 'stdin';
    const text = file === undefined ? '' : await stdin();
    return { source: new ConfigSource(text, label), file: join(cwd, label), isYaml: true, cwd };
  }
  const found = await kindAt(resolve(cwd, file));
  if (found === null || (found === 'folder' && kind !== 'deployment')) {
    const what = found === null ? 'does not exist' : 'is a folder';
    throw new BatchError('DEPLOYMENT_NOT_FOUND', `${file} ${what}; wanted the YAML of ${kindText[kind]}`);
  }
  return await openConfig(file, { cwd });
}

/** What an opened file comes to. @throws CONFIG_INVALID, CONFIG_UNKNOWN_KEY and what loading throws */
export async function readThing<K extends ConfigKind>(
  context: CommandContext,
  opened: OpenedFile,
  kind: K,
  options: LoadOptions = {},
): Promise<Extract<ConfigFile, { readonly kind: K }>> {
  const onNote = (text: string): void => context.output.note(`note: ${text}`);
  const read = await readConfig(opened, { cwd: context.host.cwd, onNote, ...options, kind });
  return read as Extract<ConfigFile, { readonly kind: K }>;
}

/** @throws USAGE */
export function required(value: string | null | undefined, flag: string): string {
  if (value !== undefined && value !== null && value !== '') return value;
  throw new BatchError('USAGE', `the following arguments are required: ${flag}`);
}

/** Uploads with a line that says how far they are. */
export async function uploadsOf(
  { output }: CommandContext,
  transport: Transport,
  { byPath = false }: PathFlags,
): Promise<Uploads> {
  if (byPath) return { isShared: true, send: async (source) => await Promise.resolve(source) };
  return await openUploads(transport, (name, sent, total) => {
    const percent = total === 0 ? 100 : Math.min(100, Math.floor((100 * sent) / total));
    output.progress(`uploading ${name}  ${percent} %  ${sent} of ${total} bytes`);
  });
}

/** The same with model and code as the coordinator can find them. @throws what {@link Uploads.send} throws */
export async function sentDeployment(uploads: Uploads, deployment: LocalDeployment): Promise<LocalDeployment> {
  const { model, code } = deployment;
  return { ...deployment, model: model && (await uploads.send(model)), code: code && (await uploads.send(code)) };
}

/** False when the user says no. @throws USAGE where nobody can be asked */
export async function isSure({ host }: CommandContext, what: string, flags: DeleteFlags): Promise<boolean> {
  if (flags.yes) return true;
  if (!host.stdin.isTerminal)
    throw new BatchError('USAGE', `${what} is deleted for good: say --yes where nobody can be asked`);
  host.stderr.write(`Delete ${what}? (y/n): `);
  return /^y(es)?$/i.test((await host.stdin.line()).trim());
}

/** `a=b` of a flag that may be repeated. @throws USAGE */
export function pairsOf(flag: string, texts: readonly string[] = []): Readonly<Record<string, string>> {
  return Object.fromEntries(
    texts.map((text) => {
      const [, key, value = ''] = /^([^=]+)=([\s\S]*)$/.exec(text) ?? [];
      if (key === undefined) throw new BatchError('USAGE', `${flag}: wanted key=value, found ${JSON.stringify(text)}`);
      return [key, value];
    }),
  );
}

export function editsOf(flags: ChangeFlags): Edits {
  return {
    set: flags.set ?? [],
    add: (flags.add ?? []).map(wordsOfValue),
    remove: (flags.remove ?? []).map(wordsOfValue),
    isForcedText: flags.forceString ?? false,
  };
}

/** Changes of others that a change of ours is laid over, before we give up. */
const roundsMax = 5;

/** Reads, changes and writes until nobody else has changed it in between. @throws RESOURCE_CHANGED when somebody always has */
export async function untilUnchanged<T>(round: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await round();
    } catch (error) {
      if (!(error instanceof BatchError) || error.code !== 'RESOURCE_CHANGED' || tries === roundsMax) throw error;
    }
  }
}
