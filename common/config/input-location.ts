/** What somebody gives as the input of a job, as an absolute path or the canonical text of a location. */
import { isAbsolute, resolve } from 'node:path';
import { BatchError } from '../core/batch-error.ts';
import { below, isUri, locationText, parseLocation } from '../core/location.ts';
import { readDatastores, type Datastores } from './datastores.ts';
import { nearestWord } from './nearest-word.ts';
import { commandEnvironment, type Environment } from './process-settings.ts';
import { parseReference, referenceText, type Reference } from './reference.ts';

/**
 * On the side of the caller: relative paths are made absolute, and what cannot be a location is refused before anything is
 * sent. A place in a datastore stays as it is, since the coordinator has the table. @throws LOCATION_INVALID
 */
export function inputText(text: string, cwd: string): string {
  const reference = referenceOf(text);
  if (reference?.kind === 'datastore') return text.trim();
  const location = parseLocation(text);
  return location.kind === 'local' ? resolve(cwd, location.path) : locationText(location);
}

/**
 * On the side of the coordinator: an absolute path, or a location without anything left to be looked up.
 * @throws LOCATION_INVALID; CONFIG_INVALID for a table that is none
 */
export async function locateInput(
  text: string,
  cwd: string,
  environment: Environment = commandEnvironment(),
): Promise<string> {
  const reference = referenceOf(text);
  if (reference?.kind !== 'datastore') return inputText(text, cwd);
  return placeIn(await readDatastores(cwd, environment), text, reference.datastore, reference.path);
}

/** Null for paths and for the locations of stores. @throws LOCATION_INVALID for an asset, which only a registry could resolve */
function referenceOf(text: string): Exclude<Reference, { kind: 'path' | 'uri' }> | null {
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
      const what = referenceText(reference, 'data');
      const advice =
        'it needs the registry of data assets, which there is none of yet; give the location that it stands for';
      throw new BatchError('LOCATION_INVALID', `the location ${text} ${what}: ${advice}`);
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
  return isAbsolute(text) || isUri(text) || /^(file|azureml):/i.test(text);
}
