/** `job verify`: proves an output folder, offline; needs no coordinator. */
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { inputText } from '../../common/config/input-location.ts';
import { BatchError } from '../../common/core/batch-error.ts';
import { errnoOf, reasonOf } from '../../common/io/errno.ts';
import { parsePublicKey, type PublicJwk } from '../../common/security/detached-jws.ts';
import { thisMachine } from '../../coordinator/outside.ts';
import { verifyOutput, type VerifyProgress, type VerifyReport } from '../../coordinator/verify/verify-output.ts';
import type { CommandContext } from '../command-context.ts';
import type { Column } from '../table.ts';

export interface VerifyFlags {
  readonly input?: string;
  readonly key?: string;
  readonly json?: boolean;
}

/** @returns 0 when everything holds, 1 when something does not */
export async function verifyCommand(
  { host, output }: CommandContext,
  dir: string,
  { input, key }: VerifyFlags,
): Promise<number> {
  const { inspectInput, statFiles, locateInput } = thisMachine();
  const report = await verifyOutput({
    ...{ inspectInput, statFiles },
    dir: resolve(host.cwd, dir),
    inputPath: input === undefined ? null : await locateInput(inputText(input, host.cwd)),
    key: key === undefined ? null : await readKey(resolve(host.cwd, key)),
    onProgress: (progress) => host.stderr.isTerminal && output.progress(progressText(progress)),
  });
  output.page(report, reportColumns, reportText(report));
  return report.is_valid ? 0 : 1;
}

async function readKey(path: string): Promise<PublicJwk> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (errnoOf(error) === '') throw error;
    throw new BatchError('USAGE', `--key: ${path} cannot be read: ${reasonOf(error)}`, { cause: error });
  }
  const key = parsePublicKey(text);
  if (key) return key;
  throw new BatchError('USAGE', `--key: ${path} is no Ed25519 public key; \`coordinator key\` prints one`);
}

const reportColumns: readonly Column<VerifyReport>[] = [
  { title: 'name', value: (report) => report.name },
  { title: 'is_valid', value: (report) => String(report.is_valid) },
  { title: 'verdict', value: (report) => report.verdict },
  { title: 'files', value: (report) => report.files },
  { title: 'rows', value: (report) => report.rows },
  { title: 'findings', value: (report) => report.findings_total },
];

function progressText({ files, filesTotal, bytes }: VerifyProgress): string {
  const of = filesTotal > 0 ? `${files} of ${filesTotal} files` : `${files} files`;
  return `verifying  ${of} · ${(bytes / 1_048_576).toFixed(0)} MiB read`;
}

const signatureTexts: Readonly<Record<NonNullable<VerifyReport['signature']>, string>> = {
  none: 'none: whoever can write the folder can make another manifest (`batchmill run` has no lasting key to sign with)',
  'own-key': 'holds, with the key that the manifest names; --key says whether that is one that you trust',
  'given-key': 'holds, with the key of --key',
  invalid: 'does not hold',
};

function reportText(report: VerifyReport): string {
  const lines = report.findings.map((finding) => `${finding.code}  ${finding.message}`);
  const more = report.findings_total - report.findings.length;
  if (more > 0) lines.push(`and ${more} more`);
  if (report.name !== null) lines.push(...sheet(report));
  const what = report.name ?? report.output_path;
  const counts = Object.entries(report.findings_by_code).map(([code, count]) => `${count} ${code}`);
  lines.push(report.is_valid ? `${what} holds` : `${what} does not hold: ${counts.join(', ')}`);
  return `${lines.join('\n')}\n`;
}

function sheet(report: VerifyReport): readonly string[] {
  const { input_path: input, inputs_checked: checked } = report;
  const inputs =
    input === null ? 'not looked at: they are not here; say where with --input' : `${checked} looked at in ${input}`;
  const rows = report.rows === null ? '' : `, ${report.rows} rows in ${report.segments} segments`;
  return [
    `files      ${report.files}${rows}`,
    `inputs     ${inputs}`,
    `signature  ${report.signature === null ? '' : signatureTexts[report.signature]}`,
  ];
}
