/** All targets. */
import { archives, frames, hostMessages, logNames, manifests, sealedFolders, signatures } from './byte-targets.ts';
import { csv, images, yaml } from './file-targets.ts';
import { http } from './http-target.ts';
import { journal, snapshots } from './journal-targets.ts';
import { inputLists } from './list-target.ts';
import type { FuzzTarget } from './target.ts';
import { grpcCalls, grpcWork, nodeMessage } from './wire-targets.ts';

export const fuzzTargets: readonly FuzzTarget[] = [
  ...[frames, hostMessages, nodeMessage, grpcWork, grpcCalls, http],
  ...[journal, snapshots, archives, sealedFolders, manifests, signatures, logNames],
  ...[yaml, csv, images, inputLists],
];
