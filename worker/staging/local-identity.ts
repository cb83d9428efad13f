/** What tells a local file from another of its path. */
import { constants } from 'node:fs';
import { access, stat } from 'node:fs/promises';
import { errnoOf } from '../../common/io/errno.ts';

interface Stats {
  readonly size: bigint;
  readonly mtimeNs: bigint;
  readonly mode: bigint;
}

/** `size-mtimeNs`, as the coordinator lists it. */
export function identityOfStats({ size, mtimeNs }: Stats): string {
  return `${size}-${mtimeNs}`;
}

/** The scoring host opens it as the same user as this process: what all may read, it can; anything else has to be asked. */
export function isReadableByAll({ mode }: Stats): boolean {
  return (mode & 0o444n) === 0o444n;
}

/** Null when there is no such file, or none that this process may read: the coordinator's will do. */
export async function identityOf(path: string): Promise<string | null> {
  try {
    const stats = await stat(path, { bigint: true });
    if (!isReadableByAll(stats)) await access(path, constants.R_OK);
    return identityOfStats(stats);
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    return null;
  }
}
