/** What a place means on this machine, with all that is registered here: data assets, datastores, uploads. */
import { commandEnvironment } from '../../common/config/process-settings.ts';
import { locateInput, type RegisteredPlaces } from '../../common/config/input-location.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { digest } from '../../common/core/ids.ts';
import { assetIn } from '../core/decide-registry.ts';
import type { Registry } from '../core/registry.ts';
import { namedKey, type DatastoreResource } from '../core/resources.ts';
import type { ArtifactStore } from './artifact-store.ts';
import { laidOut } from './stored.ts';

export interface LocateOptions {
  readonly registry: () => Registry;
  readonly artifacts: ArtifactStore;
  /** Absolute. */
  readonly stateDir: string;
  /** Absolute; where relative places of the table of datastores start. */
  readonly cwd: string;
}

/** @throws LOCATION_INVALID, RESOURCE_NOT_FOUND, CONFIG_INVALID, ARTIFACT_NOT_FOUND */
export function locateWith({ registry, artifacts, stateDir, cwd }: LocateOptions): (text: string) => Promise<string> {
  const registered: RegisteredPlaces = {
    data: (name, version) => assetIn(registry(), 'data', name, version).resource.path,
    datastore: (name) =>
      (registry().get(namedKey('datastore', name))?.resource as DatastoreResource | undefined)?.location ?? null,
  };
  return async (text) => {
    const [, hex, name] = /^sha256:([0-9a-f]{64})(?:\/([^/]+))?$/.exec(text) ?? [];
    if (hex !== undefined) {
      const of = digest(`sha256:${hex}`);
      const kind = name === undefined ? 'folder' : 'file';
      return await laidOut({ kind, name: name ?? '', digest: of }, { artifacts, stateDir });
    }
    if (/^sha256:/i.test(text)) {
      const wanted = 'sha256: and 64 hex digits for a folder, and /NAME behind them for a file';
      throw new BatchError('LOCATION_INVALID', `the location ${text} is no digest: wanted ${wanted}`);
    }
    return await locateInput(text, cwd, commandEnvironment(), registered);
  };
}
