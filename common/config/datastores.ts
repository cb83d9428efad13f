/**
 * The table of datastores: names that `azureml://datastores/NAME/paths/…` begins with, and where they are. It stands under
 * `datastores` in batchmill.yml: the file of BATCHMILL_CONFIG, else that of the folder where the coordinator was started, else
 * that of the user. It is read when a job names a datastore, so that a change needs no restart.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import * as z from 'zod';
import { BatchError } from '../core/batch-error.ts';
import { isUri, locationText, parseLocation } from '../core/location.ts';
import { errnoOf, reasonOf } from '../io/errno.ts';
import { ConfigSource } from './config-source.ts';
import type { Environment } from './process-settings.ts';
import { problemsOf } from './schema-problems.ts';

export interface Datastores {
  /** Where the table was found, or the first place that was looked at. */
  readonly file: string;
  /** Absolute paths and canonical locations by name; names in lower case. */
  readonly places: ReadonlyMap<string, string>;
}

const schema = z.strictObject({
  datastores: z.record(z.string().regex(/^[a-z0-9_][a-z0-9_-]*$/i), z.string('a location').min(1)).nullish(),
});

/** An empty table when there is no file. @throws CONFIG_INVALID, CONFIG_UNKNOWN_KEY, LOCATION_INVALID */
export async function readDatastores(cwd: string, environment: Environment = process.env): Promise<Datastores> {
  const named = environment['BATCHMILL_CONFIG'];
  const home = environment['XDG_CONFIG_HOME'] || join(environment['HOME'] || homedir(), '.config');
  const files = named ? [resolve(cwd, named)] : [join(cwd, 'batchmill.yml'), join(home, 'batchmill', 'batchmill.yml')];
  for (const file of files) {
    const text = await textOf(file, named !== undefined && named !== '');
    if (text !== null) return { file, places: placesOf(text, file) };
  }
  return { file: files[0] as string, places: new Map() };
}

async function textOf(file: string, isNamed: boolean): Promise<string | null> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    if (!isNamed && errnoOf(error) === 'ENOENT') return null;
    const hint = isNamed ? ', which BATCHMILL_CONFIG names,' : '';
    throw new BatchError('CONFIG_INVALID', `${file}${hint} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
}

function placesOf(text: string, file: string): ReadonlyMap<string, string> {
  const source = new ConfigSource(text, file);
  const value = source.toJs();
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw source.toError(problemsOf(parsed.error, value, schema));
  const places = new Map<string, string>();
  for (const [name, place] of Object.entries(parsed.data.datastores ?? {})) {
    places.set(name.toLowerCase(), placeOf(place, file, source.locate(['datastores', name], 'value')));
  }
  return places;
}

function placeOf(place: string, file: string, at: string): string {
  try {
    const location = parseLocation(place);
    return isUri(place) ? locationText(location) : resolve(dirname(file), locationText(location));
  } catch (error) {
    if (!(error instanceof BatchError)) throw error;
    throw new BatchError(error.code, `${at}: ${error.message}`, { cause: error });
  }
}
