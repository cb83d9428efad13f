/** The verdict on one end of a simulated job, from what lies on the disk: its output as a user reads it, and the certificate. */
import type { ErrorCode } from '../../common/core/error-codes.ts';
import { noBatch } from '../../coordinator/core/batch-table.ts';
import { unknownRows, type Job } from '../../coordinator/core/ledger.ts';
import type { Outside } from '../../coordinator/outside.ts';
import { verifyOutput } from '../../coordinator/verify/verify-output.ts';
import type { SimDisk } from './disk.ts';
import type { Expected, MendableInput } from './expected.ts';
import type { Takable } from './earlier.ts';
import { findRows, judgeParts } from './parts-verdict.ts';
import { customDataOf, customPathOf, fileOfRow, prologue, rowOf, unmarked } from './sim-input.ts';
import { stillDisk } from './still-disk.ts';

export interface JudgeOptions {
  readonly disk: SimDisk;
  readonly outputDir: string;
  readonly job: Job;
  readonly input: MendableInput;
  /** Where the inputs are looked at. */
  readonly outside: Pick<Outside, 'inspectInput' | 'statFiles'>;
  readonly expected: Expected;
  /** Somebody asked for it, in this life or one before. */
  readonly mayBeCanceled: boolean;
  /** Codes with which it may fail whatever is expected. */
  readonly mayFailWith: readonly ErrorCode[];
  /** Good files may be given up: something told lies about them. */
  readonly mayGiveUp: boolean;
  /** Of which files the rows are there already. */
  readonly takable: Takable;
}

export interface Verdict {
  readonly faults: readonly string[];
  /** Rows of the output that were looked at. */
  readonly rows: number;
  /** Of those that should be there. */
  readonly lost: number;
  readonly doubled: number;
}

/** What is wrong: rows lost, doubled, out of place or changed, files without a verdict, sums that do not add up. */
export async function judge(given: JudgeOptions): Promise<Verdict> {
  const { job, mayBeCanceled } = given;
  const expected = given.mayGiveUp ? withoutGivenUp(given) : given.expected;
  const options = { ...given, expected };
  const faults: string[] = [];
  const isFailed = job.state === 'Failed' && job.error !== null && options.mayFailWith.includes(job.error.code);
  const isAsExpected = job.state === expected.state || (mayBeCanceled && job.state === 'Canceled') || isFailed;
  if (!isAsExpected) faults.push(`the job ended as ${job.state}, not ${expected.state}: ${job.error?.message}`);
  const isComplete = job.state === 'Completed';
  // An output that is complete stays when the next generation does not come to be.
  const isOlder = !isComplete && job.sealedGeneration > 0;
  const rows = judgeRows(options, isOlder, faults);
  if (!isOlder) judgeCustom(options, faults);
  await judgeParts({ ...options, isOlder }, faults);
  if (isComplete) judgeCompleted(job, expected, faults);
  if (job.isListed) judgeTaken(job, options.takable, faults);
  judgeFolder(options, faults);
  const report = await verifyOutput({
    ...{ dir: options.outputDir, inputPath: null, key: null, fileSystem: stillDisk(options.disk) },
    ...options.outside,
  });
  const wanted = isOlder ? 'Completed' : job.state;
  // A file that was mended and not scored again is another than the one that was listed, and is told to be.
  const isKnown = ({ code, message }: (typeof report.findings)[number]): boolean =>
    (code === 'OUTPUT_INCOMPLETE' && wanted !== 'Completed') ||
    (code === 'INPUT_CHANGED' && isMended(options.input, message));
  const findings = report.findings.filter((finding) => !isKnown(finding));
  if (findings.length > 0) {
    const texts = findings.slice(0, 3).map((finding) => `${finding.code} ${finding.message}`);
    faults.push(`the certificate does not hold: ${texts.join('; ')}`);
  }
  if (report.verdict !== wanted) faults.push(`the certificate says ${report.verdict} of a job that is ${wanted}`);
  return { faults, ...rows };
}

/** The same, but for good files that were given up. */
function withoutGivenUp({ job, expected }: JudgeOptions): Expected {
  const quarantined = failedFiles(job);
  const given = new Set(quarantined);
  return { ...expected, scored: expected.scored.filter((file) => !given.has(file)), quarantined };
}

function isMended(input: MendableInput, message: string): boolean {
  const file = /\(file (\d+)\)/.exec(message)?.[1];
  return file !== undefined && input.mendings(Number(file)) > 0;
}

/** Rows of all files, or, of a job that was broken off, of the first ones without a gap. */
function judgeRows(options: JudgeOptions, isOlder: boolean, faults: string[]): Omit<Verdict, 'faults'> {
  const { job, input, expected } = options;
  const isComplete = job.state === 'Completed';
  const { name, content } = findRows({ ...options, isOlder });
  if (content === null) {
    faults.push(`${name} is not there`);
    return { rows: 0, lost: isComplete ? expected.scored.length : 0, doubled: 0 };
  }
  // By itself the header is not durable: the first rows are what makes it so.
  const isBare = !isComplete && content.length === 0 && job.outputCommitted <= prologue.length;
  if (!isOlder && content.length !== job.outputCommitted && !isBare) {
    faults.push(`${name} has ${content.length} bytes, ${job.outputCommitted} are committed`);
  }
  const text = content.toString('latin1');
  const body = text.startsWith(prologue) ? text.slice(prologue.length) : text;
  if (body === text && text !== '') faults.push('the header is not at the start');
  const lines = body === '' ? [] : body.replace(/\n$/, '').split('\n');
  const files = lines.map((line) => fileOfRow(line) ?? -1);
  const isWhole = (file: number, at: number): boolean =>
    file >= 0 && `${unmarked(lines[at] ?? '')}\n` === rowOf(file, input.rowsBytes(file)).toString('latin1');
  const broken = files.findIndex((file, at) => !isWhole(file, at));
  if (broken >= 0) faults.push(`line ${broken + 1} is not a row: ${lines[broken]?.slice(0, 60)}`);
  // Of the generation before, the rows are those that its own verdict found right.
  const doubled = files.length - new Set(files).size;
  if (isOlder) return { rows: files.length, lost: 0, doubled };
  if (isComplete || job.reopenings === 0) {
    const wanted = isComplete ? expected.scored : expected.scored.slice(0, files.length);
    if (files.join(',') !== wanted.join(','))
      faults.push(`rows of files ${files.join(',')} instead of ${wanted.join(',')}`);
  } else judgeFirstRows(job, files, faults);
  const has = new Set(files);
  const lost = isComplete ? expected.scored.filter((file) => !has.has(file)).length : 0;
  return { rows: files.length, lost, doubled };
}

/** Of a job that went on and was broken off again: nothing twice, and only files without a verdict or given up are missing. */
function judgeFirstRows(job: Job, got: readonly number[], faults: string[]): void {
  const has = new Set(got);
  if (!got.every((file, index) => index === 0 || file > (got[index - 1] as number))) {
    faults.push(`rows of files ${got.join(',')} are out of order`);
  }
  const failed = new Set(failedFiles(job));
  const last = got.at(-1) ?? -1;
  const missing = Array.from({ length: last }, (_, file) => file).filter((file) => !has.has(file) && !failed.has(file));
  if (missing.length > 0) faults.push(`rows of files ${missing.join(',')} are missing before ${last}`);
}

function failedFiles(job: Job): readonly number[] {
  const all = job.failures.flatMap(({ first, count }) => Array.from({ length: count }, (_, at) => first + at));
  return all.sort((a, b) => a - b);
}

/** What user code wrote for the files of every committed mini-batch, and for no other. */
function judgeCustom({ disk, outputDir, job, input }: JudgeOptions, faults: string[]): void {
  const unstaged = new Set(
    job.failures.filter(({ failure }) => failure.code === 'INPUT_UNREADABLE').map(({ first }) => first),
  );
  const wanted = new Set<string>();
  for (let batch = job.batches.head; batch !== noBatch; batch = job.batches.next(batch)) {
    if (job.batches.state(batch) !== 'committed') continue;
    const first = job.batches.first(batch);
    for (let file = first; file < first + job.batches.files(batch); file += 1) {
      const bytes = input.customBytes(file);
      if (bytes === 0 || unstaged.has(file)) continue;
      const path = `${outputDir}/${customPathOf(file)}`;
      wanted.add(path);
      const content = disk.content(path);
      if (!content?.equals(customDataOf(file, bytes))) faults.push(`${path} is ${content ? 'changed' : 'missing'}`);
    }
  }
  for (const path of disk.paths()) {
    if (path.startsWith(`${outputDir}/custom/`) && !wanted.has(path)) faults.push(`${path} should not be there`);
  }
}

function judgeCompleted(job: Job, { scored, quarantined }: Expected, faults: string[]): void {
  const equal = (what: string, found: unknown, wanted: unknown): void => {
    if (String(found) !== String(wanted)) faults.push(`${what}: ${String(found)} instead of ${String(wanted)}`);
  };
  equal('quarantined', failedFiles(job), quarantined);
  equal('failed files', job.failedFiles, quarantined.length);
  equal('scored files', job.scoredFiles, scored.length);
  equal('rows', job.rows, scored.length);
  // Of what was taken they may be known for several files together only.
  const untold = [...takenFiles(job)].filter((file) => (job.fileRows[file] ?? unknownRows) === unknownRows).length;
  equal('rows by file', [...job.fileRows].filter((rows) => rows === 1).length, scored.length - untold);
  const ofCustom = new Set([...job.custom.values()].map(({ segment }) => segment)).size;
  equal('custom files that are kept', job.custom.size > 0, job.isStagingKept);
  equal('staging segments that the ledger knows', job.segments.size, ofCustom);
  equal('results on their way', job.placing.size, 0);
  equal('mini-batches that are open', job.open, 0);
  equal('cursor', job.cursor, noBatch);
}

function takenFiles({ batches }: Job): ReadonlySet<number> {
  const taken = new Set<number>();
  for (let batch = batches.head; batch !== noBatch; batch = batches.next(batch)) {
    if (!batches.isTaken(batch)) continue;
    for (let at = 0; at < batches.files(batch); at += 1) taken.add(batches.first(batch) + at);
  }
  return taken;
}

/** What was there already was taken, and nothing else. */
function judgeTaken(job: Job, { surely, perhaps }: Takable, faults: string[]): void {
  const taken = takenFiles(job);
  const missed = surely.filter((file) => !taken.has(file));
  if (missed.length > 0) faults.push(`rows of files ${missed.join(',')} were there and not taken`);
  if (taken.size !== job.takenFiles || taken.size > surely.length + perhaps)
    faults.push(`${job.takenFiles} files are told to be taken, ${taken.size} are, ${surely.length} or more could be`);
}

/** Nothing lies about, and `_SUCCESS` stands beside a complete output alone. */
function judgeFolder({ disk, outputDir, job }: JudgeOptions, faults: string[]): void {
  const isComplete = job.sealedGeneration > 0;
  const hasSuccess = disk.content(`${outputDir}/_SUCCESS`) !== null;
  if (hasSuccess !== isComplete)
    faults.push(`_SUCCESS is ${hasSuccess ? '' : 'not '}there, the output is ${isComplete ? '' : 'not '}complete`);
  // What a coordinator opens as it is frozen comes to be when it wakes up. It writes nothing there, and takes it away no more, since
  // the name may be the next one's by then: an empty temporary file, which harms nobody.
  const isStray = (path: string): boolean => /\.tmp$|_custom\.partial/.test(path) && !disk.isLitter(path);
  const stray = disk.paths().filter((path) => path.startsWith(`${outputDir}/`) && isStray(path));
  if (stray.length > 0) faults.push(`left behind: ${stray.join(', ')}`);
}
