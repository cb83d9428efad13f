/** What somebody gives as the input of a job, as an absolute path or the canonical text of a location. */
import { isAbsolute, resolve } from 'node:path';
import { BatchError } from '../core/batch-error.ts';
import { below, isUri, locationText, parseLocation } from '../core/location.ts';
import { readDatastores, type Datastores } from './datastores.ts';
import { nearestWord } from './nearest-word.ts';
import { commandEnvironment, type Environment } from './process-settings.ts';
import { parseReference, referenceText, type Reference } from './reference.ts';

/** Data assets and datastores that were registered. */
export interface RegisteredPlaces {
  /** A null version is the latest. @throws RESOURCE_NOT_FOUND */
  data(name: string, version: string | null): string;
  /** Null: none of that name is registered, and the table is asked. */
  datastore(name: string): string | null;
}

const nothingRegistered: RegisteredPlaces = {
  data: (name, version) => {
    const what = version === null ? name : `${name}:${version}`;
    const advice = 'register it (`batchmill data create`), or give the location that it stands for';
    throw new BatchError('RESOURCE_NOT_FOUND', `there is no data ${what}; ${advice}`);
  },
  datastore: () => null,
};

/**
 * On the side of the caller: relative paths are made absolute, and what cannot be a location is refused before anything is
 * sent. What the coordinator knows, a datastore or a data asset, stays as it is. @throws LOCATION_INVALID
 */
export function inputText(text: string, cwd: string): string {
  if (referenceOf(text) !== null) return text.trim();
  const location = parseLocation(text);
  return location.kind === 'local' ? resolve(cwd, location.path) : locationText(location);
}

/**
 * On the side of the coordinator: an absolute path, or a location without anything left to be looked up.
 * @throws LOCATION_INVALID, RESOURCE_NOT_FOUND; CONFIG_INVALID for a table that is none
 */
export async function locateInput(
  text: string,
  cwd: string,
  environment: Environment = commandEnvironment(),
  registered: RegisteredPlaces = nothingRegistered,
): Promise<string> {
  const reference = referenceOf(text);
  if (reference === null) return inputText(text, cwd);
  if (reference.kind === 'asset') {
    const place = registered.data(reference.name, reference.version);
    if (referenceOf(place)?.kind === 'asset') {
      throw new BatchError(
        'LOCATION_INVALID',
        `the data asset ${text} stands for another one, ${place}; give that one`,
      );
    }
    return await locateInput(place, cwd, environment, registered);
  }
  const base = registered.datastore(reference.datastore);
  const datastores =
    base === null
      ? await readDatastores(cwd, environment)
      : { file: 'the registry', places: new Map([[reference.datastore.toLowerCase(), base]]) };
  return placeIn(datastores, text, reference.datastore, reference.path);
}

/** Null for paths and for the locations of stores. @throws LOCATION_INVALID */
function referenceOf(text: string): Extract<Reference, { kind: 'datastore' | 'asset' }> | null {
  if (!/^(azureml:|\/subscriptions\/)/i.test(text.trim())) return null;
  const reference = parseReference(text);
  switch (reference.kind) {
    case 'path':
    case 'uri':
      return null;
    case 'datastore':
      if (/[?#]/.test(reference.path)) break;
      return reference;
    case 'asset': {
      const isData = reference.asset === null || reference.asset === 'data';
      if (isData && (reference.label === null || reference.label.toLowerCase() === 'latest')) return reference;
      const advice = isData ? 'latest is the only label there is' : 'wanted a data asset';
      throw new BatchError('LOCATION_INVALID', `the location ${text} ${referenceText(reference, 'data')}: ${advice}`);
    }
    case 'malformed':
      throw new BatchError('LOCATION_INVALID', `the location ${text} ${referenceText(reference, 'data')}`);
  }
  const shown = text.replace(/[?#].*$/s, '?…');
  throw new BatchError('LOCATION_INVALID', `the location ${shown}: a place in a datastore has no "?" or "#" in it`);
}

function placeIn({ file, places }: Datastores, text: string, name: string, path: string): string {
  const base = places.get(name.toLowerCase());
  if (base === undefined) {
    const near = nearestWord(name, [...places.keys()]);
    const known = places.size === 0 ? 'there is no table' : `it has ${[...places.keys()].toSorted().join(', ')}`;
    throw new BatchError(
      'LOCATION_INVALID',
      `the location ${text}: the datastore ${name} is not in the table \`datastores\` of ${file} (${known})` +
        `${near === null ? `; add  ${name}: s3://…  or another location there` : `; did you mean ${near}?`}`,
    );
  }
  if (path.split('/').some((part) => part === '..')) {
    throw new BatchError('LOCATION_INVALID', `the location ${text}: a place in a datastore has no ".." in it`);
  }
  const root = parseLocation(base);
  if (root.kind === 'local') return path === '' ? root.path : resolve(root.path, path.replace(/^\/+/, ''));
  const place = path === '' ? root : below(root, path.replace(/^\/+/, ''));
  // Read again: what the table and the path make together must be a location too.
  return locationText(parseLocation(locationText(place)));
}

/** Whether a text may be the input of a job in a request: not relative to anything. */
export function isInputText(text: string): boolean {
  if (text.includes('\0')) return false;
  return isAbsolute(text) || isUri(text) || /^(file|azureml|sha256):/i.test(text);
}
