/**
 * What a value of `model`, `environment`, `path`, `code` or `compute` points to: a path, an asset that somebody registered, a
 * place in a datastore, or a URI. Only paths can be used today; the others are told apart so that a message can name them.
 * @source Azure ML CLI v2 core YAML syntax
 */
import { unreachable } from '../core/invariant.ts';

/** Kinds of registered things, as they stand in long forms (`…/models/name/versions/3`). */
export type AssetKind = 'model' | 'environment' | 'data' | 'code' | 'component' | 'compute';

export type Reference =
  /** A path, as written. */
  | { readonly kind: 'path'; readonly path: string }
  | {
      readonly kind: 'asset';
      /** Null: the form does not say; the key where it stands does. */
      readonly asset: AssetKind | null;
      readonly name: string;
      /** One of them is given, or neither for a compute. */
      readonly version: string | null;
      readonly label: string | null;
      /** Null: the workspace’s own. */
      readonly registry: string | null;
    }
  | { readonly kind: 'datastore'; readonly datastore: string; readonly path: string }
  | { readonly kind: 'uri'; readonly uri: string; readonly scheme: string }
  /** Begins like a reference and is none. */
  | { readonly kind: 'malformed'; readonly wanted: string };

const wantedForms =
  'azureml:NAME:VERSION, azureml:NAME@latest, azureml://registries/REGISTRY/models/NAME/versions/VERSION or azureml://datastores/STORE/paths/PATH';

const assetFolders: Readonly<Record<string, AssetKind>> = {
  models: 'model',
  environments: 'environment',
  data: 'data',
  codes: 'code',
  components: 'component',
  computes: 'compute',
};

/** Reads any value that may be a path. */
export function parseReference(text: string): Reference {
  const value = text.trim();
  const storage = /^azureml:\/\/(.*)$/is.exec(value);
  if (storage) return parseLong(storage[1] ?? '');
  const short = /^azureml:(.*)$/is.exec(value);
  if (short) {
    const rest = short[1] ?? '';
    return rest.startsWith('/') ? parseLong(rest.slice(1)) : parseShort(rest);
  }
  if (/^\/subscriptions\/[^/]+\/resourcegroups\//i.test(value)) return parseLong(value.slice(1));
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(value)?.[1]?.toLowerCase();
  if (scheme !== undefined && scheme !== 'file') return { kind: 'uri', uri: value, scheme };
  return { kind: 'path', path: value.replace(/^file:(\/\/(?=\/))?/i, '') };
}

/** A compute: `azureml:name`, the bare name, or the long form. */
export function parseCompute(text: string): Reference {
  const value = text.trim();
  const name = /^(?:azureml:)?([^/:@\s]+)$/i.exec(value)?.[1];
  return name === undefined ? parseReference(value) : assetOf('compute', name, null, null, null);
}

function parseShort(rest: string): Reference {
  const at = /^([^:@/\s]+)@([^:@/\s]+)$/.exec(rest);
  if (at) return assetOf(null, at[1] ?? '', null, at[2] ?? '', null);
  const colon = /^([^:@/\s]+):([^:@/\s]+)$/.exec(rest);
  if (colon) return assetOf(null, colon[1] ?? '', colon[2] ?? '', null, null);
  return { kind: 'malformed', wanted: wantedForms };
}

/** Segments in pairs, as `subscriptions/S/resourceGroups/G/…/models/NAME/versions/3`; case matters only in names. */
function parseLong(rest: string): Reference {
  const [before = '', ...after] = rest.split(/\/paths(?:\/|$)/i);
  const segments = before.split('/').filter((one) => one !== '');
  const valueOf = (word: string): string | null => {
    const index = segments.findLastIndex((one) => one.toLowerCase() === word);
    return index < 0 ? null : (segments[index + 1] ?? null);
  };
  const datastore = valueOf('datastores');
  if (datastore !== null) return { kind: 'datastore', datastore, path: after.join('/paths/') };
  for (const [folder, asset] of Object.entries(assetFolders)) {
    const name = valueOf(folder);
    if (name === null) continue;
    const version = valueOf('versions');
    const label = valueOf('labels');
    if (asset !== 'compute' && version === null && label === null) break;
    return assetOf(asset, name, version, label, valueOf('registries'));
  }
  return { kind: 'malformed', wanted: wantedForms };
}

function assetOf(
  asset: AssetKind | null,
  name: string,
  version: string | null,
  label: string | null,
  registry: string | null,
): Reference {
  return { kind: 'asset', asset, name, version, label, registry };
}

/** What a reference that is no path points to, in words; `expected` is what its key is about. */
export function referenceText(reference: Exclude<Reference, { kind: 'path' }>, expected: AssetKind): string {
  switch (reference.kind) {
    case 'asset': {
      const { name, version, label, registry } = reference;
      const which = version !== null ? `, version ${version}` : label !== null ? `, ${label}` : '';
      const where = registry === null ? '' : ` of the registry ${registry}`;
      const what = reference.asset ?? expected;
      return `is a registered ${what === 'data' ? 'data asset' : what} (${name}${which}${where})`;
    }
    case 'datastore':
      return `is a place in the datastore ${reference.datastore}`;
    case 'uri':
      return 'is a URI';
    case 'malformed':
      return `is not a reference: wanted ${reference.wanted}, or a local path`;
    default:
      return unreachable(reference);
  }
}
