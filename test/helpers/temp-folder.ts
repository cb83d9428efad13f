/** A temporary folder with files, and what loading from it comes to. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { BatchError } from '../../common/core/batch-error.ts';

export class TempFolder {
  readonly path: string = mkdtempSync(join(tmpdir(), 'batchmill-test-'));

  /** Writes files by their paths below the folder. */
  put(files: Readonly<Record<string, string>>): void {
    for (const [path, content] of Object.entries(files)) {
      mkdirSync(dirname(join(this.path, path)), { recursive: true });
      writeFileSync(join(this.path, path), content);
    }
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** `CODE message` of the BatchError that `loading` ends with; anything else is thrown or said. */
export async function failureOf(loading: Promise<unknown>): Promise<string> {
  const outcome = await loading.then(
    (value) => `no error, but ${JSON.stringify(value)}`,
    (error: unknown) => error,
  );
  if (typeof outcome === 'string') return outcome;
  if (!(outcome instanceof BatchError)) throw outcome;
  return `${outcome.code} ${outcome.message}`;
}
