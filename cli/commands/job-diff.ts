/** `job diff`: two outputs of one input, row by row; folders here, or jobs of the coordinator. */
import { resolve } from 'node:path';
import { kindAt } from '../../common/config/deployment-paths.ts';
import { limits } from '../../common/core/limits.ts';
import { nodeFileSystem } from '../../common/io/node-file-system.ts';
import { compareOutputs, type Comparison } from '../../coordinator/compare/compare-outputs.ts';
import { agreementText } from '../agreement-text.ts';
import type { CommandContext } from '../command-context.ts';
import { numberFlag } from '../number-flag.ts';
import type { Column } from '../table.ts';

export interface DiffFlags {
  readonly tolerance?: string;
  readonly examples?: string;
  readonly minAgreement?: string;
}

/** @returns 0, or 1 when the rows agree less than they are to */
export async function diffCommand(context: CommandContext, a: string, b: string, flags: DiffFlags): Promise<number> {
  const tolerance = numberFlag('--tolerance', flags.tolerance, Number.MAX_VALUE) ?? 0;
  const examplesMax = Math.floor(
    numberFlag('--examples', flags.examples, limits.apiPageMax) ?? limits.differencesShown,
  );
  const wanted = numberFlag('--min-agreement', flags.minAgreement, 1);
  const found = await compared(context, a, b, { tolerance, examplesMax });
  context.output.page(found, columns, comparisonText(found));
  if (wanted === null || (found.agreement ?? 0) >= wanted) return 0;
  context.output.note(`the rows agree to ${agreementText(found.agreement)}, less than ${agreementText(wanted)}`);
  return 1;
}

async function compared(
  { host, client }: CommandContext,
  a: string,
  b: string,
  asked: { readonly tolerance: number; readonly examplesMax: number },
): Promise<Comparison> {
  const folders = [resolve(host.cwd, a), resolve(host.cwd, b)] as const;
  const isLocal = (await kindAt(folders[0])) === 'folder' && (await kindAt(folders[1])) === 'folder';
  if (!isLocal) return await (await client()).compare(a, b, asked.tolerance, asked.examplesMax);
  return await compareOutputs({ a: folders[0], b: folders[1], fileSystem: nodeFileSystem, ...asked });
}

const columns: readonly Column<Comparison>[] = [
  { title: 'agreement', value: ({ agreement }) => agreement },
  { title: 'rows', value: ({ rows }) => rows.compared },
  { title: 'same', value: ({ rows }) => rows.same },
  { title: 'different', value: ({ rows }) => rows.different },
];

function comparisonText(found: Comparison): string {
  const { a, b, files, rows } = found;
  const one = (side: Comparison['a'], letter: string): string =>
    `${letter}          ${side.job} (${side.deployment}): ${side.rows} rows, ${side.failed_files} files failed${side.seconds === null ? '' : `, ${side.seconds} s`}\n`;
  const others = Object.entries(files).filter(([kind, count]) => count > 0 && kind !== 'same' && kind !== 'different');
  const counts = others.map(([kind, count]) => `, ${count} ${kind.replaceAll('_', ' ')}`).join('');
  const lines = [
    one(a, 'a') + one(b, 'b'),
    `files      ${files.same} the same, ${files.different} different${counts}\n`,
    `rows       ${rows.same} of ${rows.compared} the same: ${agreementText(found.agreement)}\n`,
    ...found.differences.map(
      ({ file, row, a: left, b: right }) =>
        `\n${file}${row === null ? '' : `, row ${row}`}\n  a: ${left ?? 'nothing'}\n  b: ${right ?? 'nothing'}\n`,
    ),
  ];
  const hidden = rows.different - found.differences.filter(({ row }) => row !== null).length;
  return lines.join('') + (hidden > 0 ? `\n… and ${hidden} more rows; --examples shows more\n` : '');
}
