/** What of its machine the work behind jobs touches, as one argument: a simulation hands in its own. */
import { delay, type Delay } from '../common/io/delay.ts';
import type { InputSelection } from '../common/core/input-selection.ts';
import type { LockIdentity } from '../common/io/lock-file.ts';
import { nodeFileSystem } from '../common/io/node-file-system.ts';
import { lifeOf, ownIdentity } from '../common/io/process-identity.ts';
import type { FileSystem } from '../common/ports/file-system.ts';
import { inspectInput, type InputRoot } from './input/input-root.ts';
import { listInput, type InputListing } from './input/list-input.ts';
import { statFiles, type StatFiles } from './input/stat-files.ts';

export interface Outside {
  /** Of state directory and outputs. */
  readonly fileSystem: FileSystem;
  readonly delay: Delay;
  /** Who holds the locks of output folders. */
  readonly identity: LockIdentity;
  /** @throws INPUT_NOT_FOUND, INPUT_UNREADABLE */
  readonly inspectInput: (path: string) => Promise<InputRoot>;
  readonly listInput: (path: string, selection: InputSelection) => InputListing;
  readonly statFiles: StatFiles;
}

export function thisMachine(): Outside {
  const identity = { self: ownIdentity(), lifeOf };
  return { fileSystem: nodeFileSystem, delay, identity, inspectInput, listInput, statFiles };
}
