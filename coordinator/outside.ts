/** What of its machine the work behind jobs touches, as one argument: a simulation hands in its own. */
import { delay, type Delay } from '../common/io/delay.ts';
import type { LockIdentity } from '../common/io/lock-file.ts';
import { nodeFileSystem } from '../common/io/node-file-system.ts';
import { lifeOf, ownIdentity } from '../common/io/process-identity.ts';
import type { FileSystem } from '../common/ports/file-system.ts';
import { locateInput } from '../common/config/input-location.ts';
import { commandEnvironment } from '../common/config/process-settings.ts';
import { systemRandom } from '../common/io/random.ts';
import { Stores } from '../common/storage/stores.ts';
import { inputsByLocation, type Inputs } from './input/input-by-location.ts';
import { openInputs } from './input/open-input.ts';
import { StoreOutput, type StoreOutputOptions } from './output/store-output.ts';
import type { OpenInput } from './service/read-input.ts';

export interface Outside extends Inputs {
  /** Of state directory and outputs. */
  readonly fileSystem: FileSystem;
  /** Another coordinator may have files of jobs open still: they are replaced by copies before they are written to. Default: none has. */
  readonly isShared?: boolean;
  /** What coordinators of which one leads have in common: whoever leads takes the locks of those before it. Absent: it is the only one. */
  readonly cluster?: string;
  readonly delay: Delay;
  /** Who holds the locks of output folders. */
  readonly identity: LockIdentity;
  /** What a job's input means: an absolute path, or a location in its canonical form. @throws LOCATION_INVALID, CONFIG_INVALID */
  readonly locateInput: (text: string) => Promise<string>;
  readonly openInput: OpenInput;
  /** An output that goes to a store. */
  readonly storeOutput: (output: Omit<StoreOutputOptions, 'stores'>) => StoreOutput;
}

/** `stopped`: inputs in stores are asked for nothing any more; absent: the process just ends. */
export function thisMachine(stopped?: AbortSignal): Outside {
  const identity = { self: ownIdentity(), lifeOf };
  const stores = new Stores({ environment: commandEnvironment(), delay, random: systemRandom });
  return {
    ...{ fileSystem: nodeFileSystem, delay, identity, openInput: openInputs(stores) },
    ...inputsByLocation(stores, stopped),
    locateInput: (text) => locateInput(text, process.cwd()),
    storeOutput: (output) => new StoreOutput({ ...output, stores }),
  };
}
