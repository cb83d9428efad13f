/** Puts the parts that an inner job has made of the rows into the output folder. */
import { BatchError } from '../../common/core/batch-error.ts';
import type { PartFile } from '../../common/core/parts-form.ts';
import type { FileSystem } from '../../common/ports/file-system.ts';
import { readBegunParts, writeBegunParts, type BegunPart } from './begun-parts.ts';
import { publishCustomFiles, type CustomSource, type StorePlace } from './custom-publish.ts';
import type { CustomFileLine } from './sealed-lines.ts';

/** Parts are staged as files of user code are, each by one mini-batch of the inner job. */
export interface PartsSource extends CustomSource {
  /** All of them, by path. */
  readonly files: ReadonlyMap<string, PartFile>;
  /** Null where the output stays here. */
  readonly place: StorePlace | null;
}

export interface PublishPartsOptions {
  readonly parts: PartsSource | null;
  readonly dir: string;
  /** What an earlier end of this very job has put in place: its parts go unless these have their names. */
  readonly earlierCustom: readonly CustomFileLine[];
  readonly fileSystem: FileSystem;
}

/** Before the files of user code: where one has the name of a part, the part has it. @throws OUTPUT_CORRUPT, STATE_UNWRITABLE */
export async function publishParts(options: PublishPartsOptions): Promise<readonly CustomFileLine[]> {
  const { parts, dir, fileSystem, earlierCustom } = options;
  if (parts === null) return [];
  const sealed = earlierCustom.flatMap((line) => (line.rows === undefined ? [] : [line]));
  const begun = await readBegunParts(fileSystem, dir);
  const earlier = new Map<string, string[]>();
  for (const { path, sha256 } of [...sealed, ...begun]) earlier.set(path, [...(earlier.get(path) ?? []), sha256]);
  const { files } = await publishCustomFiles({
    ...{ ...parts, dir, outputFileName: null, fileSystem, earlier },
    areFoldersNamed: true,
    beforeNames: (made) => writeBegunParts(fileSystem, dir, distinct([...begun, ...made])),
  });
  if (files.length !== parts.files.size) {
    throw new BatchError(
      'OUTPUT_CORRUPT',
      `${parts.files.size} parts were made, ${files.length} are there; run the job again`,
    );
  }
  return files.map((file) => {
    const told = parts.files.get(file.wanted_path ?? file.path);
    if (told?.bytes === file.bytes) return { ...file, rows: told.rows };
    const wanted = told ? `${told.bytes} were written` : 'nobody has told of it';
    throw new BatchError('OUTPUT_CORRUPT', `${file.path} has ${file.bytes} bytes and ${wanted}; run the job again`);
  });
}

function distinct(parts: readonly BegunPart[]): readonly BegunPart[] {
  return [...new Map(parts.map((part) => [`${part.sha256} ${part.path}`, part])).values()];
}

export function sumOfRows(parts: readonly CustomFileLine[]): number {
  return parts.reduce((sum, { rows = 0 }) => sum + rows, 0);
}
