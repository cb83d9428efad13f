/** Reads a job's output folder as a stranger would. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ErrorLine, FileLine, SealedOutput } from '../../coordinator/output/sealed-lines.ts';

export interface OutputFolder {
  readonly bytes: Buffer;
  readonly text: string;
  readonly sha256: string;
  readonly manifest: SealedOutput;
  readonly files: readonly FileLine[];
  readonly errors: readonly ErrorLine[];
  readonly isComplete: boolean;
}

/** Of a job that is sealed; also checks the manifest's own digests against the files. */
export function readOutput(dir: string, fileName = 'predictions.csv'): OutputFolder {
  const manifest = JSON.parse(readFileSync(join(dir, '_manifest.json'), 'utf8')) as SealedOutput;
  const path = existsSync(join(dir, fileName)) ? join(dir, fileName) : join(dir, `${fileName}.partial`);
  const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
  for (const file of [...manifest.files, ...(manifest.errors ? [manifest.errors] : [])]) {
    const found = digest(readFileSync(join(dir, file.path)));
    if (found !== file.sha256) throw new Error(`${file.path} is ${found}, the manifest says ${file.sha256}`);
  }
  if (manifest.output && manifest.output.sha256 !== digest(bytes)) throw new Error(`${path} is not what was sealed`);
  const errors = manifest.errors ? linesOf<ErrorLine>(join(dir, manifest.errors.path)) : [];
  return {
    bytes,
    text: bytes.toString(),
    sha256: digest(bytes),
    manifest,
    files: manifest.files.flatMap(({ path: chunk }) => linesOf<FileLine>(join(dir, chunk))),
    errors,
    isComplete: existsSync(join(dir, '_SUCCESS')),
  };
}

function linesOf<T>(path: string): readonly T[] {
  const text = readFileSync(path, 'utf8').trimEnd();
  return text === '' ? [] : text.split('\n').map((line) => JSON.parse(line) as T);
}

function digest(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
