/** Where the cluster's authority lies: `tls/ca.key` and `tls/ca.crt` of the state directory, made at the first start. */
import { networkInterfaces, hostname } from 'node:os';
import { join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { readIfThere, writePrivate } from '../../common/io/private-file.ts';
import { Authority } from '../../common/security/authority.ts';

/** Readable by its owner only. The state directory is locked by the caller. @throws STATE_UNWRITABLE */
export async function openAuthority(stateDir: string, nowMs: number): Promise<Authority> {
  const [keyPath, certPath] = [join(stateDir, 'tls', 'ca.key'), join(stateDir, 'tls', 'ca.crt')];
  try {
    const [key, cert] = [await readIfThere(keyPath), await readIfThere(certPath)];
    // The certificate is written last: without it there has never been an authority.
    if (cert === null) {
      const made = await Authority.make(nowMs);
      await writePrivate(keyPath, made.key);
      await writePrivate(certPath, made.cert);
      return await Authority.of(made);
    }
    if (key === null) throw unusable(keyPath, 'it is not there');
    return await Authority.of({ key, cert });
  } catch (error) {
    if (error instanceof BatchError) throw error;
    throw unusable(errnoOf(error) === '' ? keyPath : join(stateDir, 'tls'), reasonOf(error), error);
  }
}

/** Names and addresses of this machine, for programs that look at them. */
export function namesOfMachine(listened: readonly string[]): readonly string[] {
  const own = Object.values(networkInterfaces()).flatMap((all) => (all ?? []).map(({ address }) => address));
  const names = ['localhost', '127.0.0.1', '::1', hostname(), ...listened, ...own];
  // Addresses of one link have its name behind them, which no certificate can.
  return [...new Set(names.map((name) => name.replace(/%.*$/, '')))].filter((name) => /^[a-z0-9.:_-]+$/i.test(name));
}

function unusable(path: string, why: string, cause?: unknown): BatchError {
  const advice = 'restore it from a copy, or remove the folder tls, and all worker nodes and callers join anew';
  return new BatchError('STATE_UNWRITABLE', `the cluster's authority in ${path} cannot be used: ${why}; ${advice}`, {
    cause,
  });
}
