/**
 * Where inputs lie: a path of this machine, an object store, or a web server. Texts are parsed once, at the edge; what goes on from
 * there (journal, manifest, log, wire) is the canonical text of {@link locationText}, which has room for no credential.
 * @source Hadoop’s ABFS and WASB URI schemes; Azure Storage’s blob addresses; the URIs of the AWS and Google command lines
 */
import { BatchError } from './batch-error.ts';
import { unreachable } from './invariant.ts';

export interface LocalLocation {
  readonly kind: 'local';
  readonly path: string;
}

/** `s3://bucket/key`, `gs://bucket/key`. */
export interface BucketLocation {
  readonly kind: 's3' | 'gs';
  readonly bucket: string;
  /** Without a `/` in front; empty for the whole bucket. */
  readonly key: string;
}

export interface AzureLocation {
  readonly kind: 'azure';
  readonly scheme: 'az' | 'abfs' | 'abfss' | 'wasb' | 'wasbs' | 'http' | 'https';
  /** Null: that of the environment. */
  readonly account: string | null;
  /** Scheme and host, of Azurite with its account as path; null: that of the environment. No `/` at the end. */
  readonly endpoint: string | null;
  readonly container: string;
  readonly key: string;
}

export interface WebLocation {
  readonly kind: 'web';
  /** Percent-encoded, without user, query and fragment; ends in `/` for a folder. */
  readonly url: string;
}

export type StoreLocation = BucketLocation | AzureLocation | WebLocation;
export type Location = LocalLocation | StoreLocation;

const wantedForms =
  's3://BUCKET/KEY, gs://BUCKET/KEY, az://CONTAINER/PATH, abfss://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH, ' +
  'wasbs://CONTAINER@ACCOUNT.blob.core.windows.net/PATH, https://ACCOUNT.blob.core.windows.net/CONTAINER/PATH, another https:// folder, ' +
  'azureml://datastores/NAME/paths/PATH, or a local path';

/** Schemes that people write for one of ours. */
const meantSchemes: Readonly<Record<string, string>> = {
  ...{ s3a: 's3', s3n: 's3', aws: 's3', gcs: 'gs', gcp: 'gs', google: 'gs' },
  ...{ azure: 'az', azblob: 'az', blob: 'az', adls: 'abfss', adl: 'abfss', htps: 'https' },
};

const azureHost =
  /^([a-z0-9]{3,24})\.(?:blob|dfs)(\.core\.windows\.net|\.core\.usgovcloudapi\.net|\.core\.chinacloudapi\.cn)$/i;
/** The account that Azurite has. */
const devAccount = 'devstoreaccount1';

/** Whether a text names a store or a server; everything else is a path. */
export function isUri(text: string): boolean {
  return /^[a-z][a-z0-9+.-]*:\/\//i.test(text) && !/^file:/i.test(text);
}

/** A text without a scheme is a local path, as it stands. @throws LOCATION_INVALID */
export function parseLocation(text: string): Location {
  const value = text.trim();
  const [, scheme = '', rest = ''] = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/is.exec(value) ?? [];
  if (scheme === '') return localOf(value);
  const name = scheme.toLowerCase();
  const refuse = refusal(value);
  refuseCredentials(name, rest, refuse);
  switch (name) {
    case 'file':
      return fileOf(value, rest, refuse);
    case 's3':
    case 'gs':
      return bucketOf(name, rest, refuse);
    case 'az':
      return azureOf('az', null, null, rest, refuse);
    case 'abfs':
    case 'abfss':
    case 'wasb':
    case 'wasbs':
      return hadoopOf(name, rest, refuse);
    case 'http':
    case 'https':
      return webOf(value, refuse);
    default: {
      const meant = meantSchemes[name];
      throw refuse(
        meant === undefined ? `${name}:// is not known; wanted ${wantedForms}` : `did you mean ${meant}://?`,
      );
    }
  }
}

/** The same for the same place, whoever wrote it; {@link parseLocation} reads it back. */
export function locationText(location: Location): string {
  switch (location.kind) {
    case 'local':
      return location.path;
    case 's3':
    case 'gs':
      return `${location.kind}://${location.bucket}/${location.key}`;
    case 'azure':
      return azureText(location);
    case 'web':
      return location.url;
    default:
      return unreachable(location);
  }
}

/** A place below a folder; `path` is relative, with `/` between its names. */
export function below(location: StoreLocation, path: string): StoreLocation {
  if (location.kind !== 'web') return { ...location, key: `${folderKey(location.key)}${path}` };
  const folder = location.url.endsWith('/') ? location.url : `${location.url}/`;
  return { kind: 'web', url: `${folder}${encodePath(path)}` };
}

/** A key as the prefix of what lies below it. */
export function folderKey(key: string): string {
  return key === '' || key.endsWith('/') ? key : `${key}/`;
}

/** A relative path as it stands in a URL: `/` stays, everything else that means something there does not. */
export function encodePath(path: string): string {
  return path.split('/').map(encodeURIComponent).join('/');
}

type Refuse = (why: string) => BatchError;

/** What was given is repeated without what may be a secret. */
function refusal(value: string): Refuse {
  const shown = value
    .replace(/^(https?:\/\/).*@/is, '$1…@')
    .replace(/^([a-z0-9+.-]+:\/\/)[^@]*:.*@/is, '$1…@')
    .replace(/\?.*$/s, '?…');
  return (why) => new BatchError('LOCATION_INVALID', `the location ${shown}: ${why}`);
}

/**
 * A signature or a password in a location would go into the journal, the manifest and every log, so it is refused here, before
 * anything has seen it. A web address has no query at all: nobody can tell which of its parameters are secrets.
 */
function refuseCredentials(scheme: string, rest: string, refuse: Refuse): void {
  const authority = rest.split('/')[0] ?? '';
  if (/:[^@]*@/.test(authority) || (/^https?$/.test(scheme) && authority.includes('@'))) {
    throw refuse(
      'it has a user or a password in it, which would be kept with the job; give credentials by the environment',
    );
  }
  const query = rest.indexOf('?');
  if (query < 0) return;
  const isWeb = scheme === 'http' || scheme === 'https';
  if (!isWeb && !rest.slice(query).includes('=')) return;
  throw refuse(
    'what follows "?" may be a credential (a SAS token, a signature) and would be kept with the job; leave it out, and set ' +
      'AZURE_STORAGE_SAS_TOKEN or the other variables of the store (docs/stores.md)',
  );
}

function localOf(value: string): LocalLocation {
  const slash = /^(s3|gs|az|abfss?|wasbs?|https?):\/?[^/]/i.exec(value)?.[1];
  if (slash !== undefined) throw refusal(value)(`did you mean ${slash.toLowerCase()}://? It takes two slashes`);
  return { kind: 'local', path: value };
}

function fileOf(value: string, rest: string, refuse: Refuse): LocalLocation {
  if (!/^(localhost)?\//i.test(rest)) throw refuse('wanted file:///ABSOLUTE/PATH on this machine');
  return { kind: 'local', path: decoded(value.replace(/^file:\/\/(localhost)?/i, ''), refuse) };
}

function bucketOf(kind: 's3' | 'gs', rest: string, refuse: Refuse): BucketLocation {
  const [bucket, key] = splitAt(rest);
  if (!/^[a-z0-9][a-z0-9._-]{1,253}[a-z0-9]$/i.test(bucket)) {
    throw refuse(`wanted ${kind}://BUCKET/KEY; a bucket has at least 3 letters, digits, ".", "_" or "-"`);
  }
  return { kind, bucket, key: checkedKey(key, refuse) };
}

function azureOf(
  scheme: AzureLocation['scheme'],
  account: string | null,
  endpoint: string | null,
  rest: string,
  refuse: Refuse,
): AzureLocation {
  const [container, key] = splitAt(rest);
  if (!/^(\$root|\$web|\$logs|[a-z0-9][a-z0-9-]{1,61}[a-z0-9])$/.test(container)) {
    const hint = /[A-Z]/.test(container) ? '; containers have small letters only' : '';
    throw refuse(
      `wanted a container (3 to 63 small letters, digits or "-") where ${JSON.stringify(container)} is${hint}`,
    );
  }
  return { kind: 'azure', scheme, account, endpoint, container, key: checkedKey(key, refuse) };
}

function hadoopOf(scheme: 'abfs' | 'abfss' | 'wasb' | 'wasbs', rest: string, refuse: Refuse): AzureLocation {
  const service = scheme.startsWith('abfs') ? 'dfs' : 'blob';
  const [authority, path] = splitAt(rest);
  const at = authority.lastIndexOf('@');
  const host = azureHost.exec(authority.slice(at + 1));
  if (at < 0 || !host) {
    const hint = at < 0 ? ' (az://CONTAINER/PATH takes the account from the environment)' : '';
    throw refuse(`wanted ${scheme}://CONTAINER@ACCOUNT.${service}.core.windows.net/PATH${hint}`);
  }
  const [, account = '', suffix = ''] = host;
  const endpoint = `${scheme.endsWith('s') ? 'https' : 'http'}://${account.toLowerCase()}.blob${suffix.toLowerCase()}`;
  return azureOf(scheme, account.toLowerCase(), endpoint, `${authority.slice(0, at)}/${path}`, refuse);
}

function webOf(value: string, refuse: Refuse): AzureLocation | WebLocation {
  let url: URL;
  try {
    url = new URL(value);
  } catch {
    throw refuse('it is no URL');
  }
  if (url.hash !== '')
    throw refuse('"#" begins a fragment, which no server sees; write %23 where it belongs to a name');
  const scheme = url.protocol === 'https:' ? 'https' : 'http';
  const path = url.pathname.slice(1);
  const host = azureHost.exec(url.hostname);
  if (host) {
    const [, account = '', suffix = ''] = host;
    const endpoint = `${url.protocol}//${account}.blob${suffix}`;
    const location = azureOf(scheme, account, endpoint, decoded(path, refuse), refuse);
    // Folders of a Data Lake are listed one by one.
    return /\.dfs\./.test(url.hostname) ? { ...location, scheme: scheme === 'https' ? 'abfss' : 'abfs' } : location;
  }
  if (path === devAccount || path.startsWith(`${devAccount}/`)) {
    const rest = decoded(path.slice(devAccount.length + 1), refuse);
    return azureOf(scheme, devAccount, `${url.origin}/${devAccount}`, rest, refuse);
  }
  checkedKey(decoded(path, refuse), refuse);
  return { kind: 'web', url: url.href };
}

function azureText({ scheme, account, endpoint, container, key }: AzureLocation): string {
  if (endpoint === null) return `${scheme}://${container}/${key}`;
  if (scheme === 'http' || scheme === 'https') return `${endpoint}/${container}/${encodePath(key)}`;
  const suffix = new URL(endpoint).hostname.slice(`${account}.blob`.length);
  return `${scheme}://${container}@${account}.${scheme.startsWith('abfs') ? 'dfs' : 'blob'}${suffix}/${key}`;
}

function splitAt(rest: string): readonly [string, string] {
  const slash = rest.indexOf('/');
  return slash < 0 ? [rest, ''] : [rest.slice(0, slash), rest.slice(slash + 1)];
}

function decoded(path: string, refuse: Refuse): string {
  try {
    return decodeURIComponent(path);
  } catch {
    throw refuse('a "%" in it is followed by no two digits of a UTF-8 character; write %25 for the sign itself');
  }
}

/** Names that no folder has: what stores would answer differently from one another. */
function checkedKey(key: string, refuse: Refuse): string {
  const names = key.split('/');
  if (names.some((name, index) => name === '' && index < names.length - 1)) {
    throw refuse('it has two slashes in a row, or one too many in front');
  }
  if (names.some((name) => name === '.' || name === '..')) throw refuse('it has "." or ".." as a name');
  if (/\p{Cc}/u.test(key)) throw refuse('it has a control character in it');
  return key;
}
