/** Parts of the output, and files that user code wrote: each is what was sealed, none is named twice, and the sums hold. */
import { broughtPathDefect } from '../../common/storage/custom-path.ts';
import { customLineSchema, type Manifest } from '../output/manifest-schema.ts';
import { manifestName } from '../output/output-names.ts';
import type { CustomFileLine } from '../output/sealed-lines.ts';
import { isAsSealed, readLines, type Place } from './sealed-files.ts';

/** Rows of all parts; null when there are none, or not all files could be looked at. */
export async function verifyCustom(place: Place, manifest: Manifest): Promise<number | null> {
  const walk = new CustomWalk(place);
  let isWhole = true;
  for (const file of manifest.custom_files) await walk.take(file, manifestName, `custom_files: ${file.path}`);
  for (const chunk of manifest.custom_chunks) {
    if (await isAsSealed(place, chunk)) {
      for await (const { line, value } of readLines(place, chunk, customLineSchema)) {
        await walk.take(value, chunk.path, `line ${line}`);
      }
    } else isWhole = false;
  }
  const { files, bytes } = manifest.custom_counts;
  if (!isWhole) return null;
  if (files === walk.files && bytes === walk.bytes) return walk.rows;
  place.findings.add({
    ...{ code: 'MANIFEST_INVALID', kind: 'inconsistent', path: manifestName, place: 'custom_counts' },
    message: `custom_counts says ${files} files of ${bytes} bytes, ${walk.files} of ${walk.bytes} are named`,
  });
  return null;
}

class CustomWalk {
  files = 0;
  bytes = 0;
  rows: number | null = null;
  readonly #place: Place;

  constructor(place: Place) {
    this.#place = place;
  }

  async take(file: CustomFileLine, path: string, where: string): Promise<void> {
    this.files += 1;
    this.bytes += file.bytes;
    if (file.rows !== undefined) this.rows = (this.rows ?? 0) + file.rows;
    const defect = broughtPathDefect(file.path, null);
    const refuse = (message: string): void =>
      this.#place.findings.add({ code: 'MANIFEST_INVALID', kind: 'inconsistent', path, place: where, message });
    // What leads out of the folder is not followed.
    if (defect !== null) return refuse(`${JSON.stringify(file.path)} is no file of user code: ${defect}`);
    await isAsSealed(this.#place, file);
  }
}
